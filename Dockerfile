# The aggregator and its clients; see docs/operate/compose.md.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
RUN python3 -m venv --without-pip /opt/venv
ENV PIP_PYTHON=/opt/venv/bin/python PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# Dependencies first, in the versions that are tested: they change less often than the code.
COPY pyproject.toml constraints.txt ./
# Of the optional ones those that are named: --build-arg EXTRAS=tracing
ARG EXTRAS=""
RUN python3 -c "import os, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *(d for e in os.environ['EXTRAS'].split() for d in p['optional-dependencies'][e]), sep='\n')" > dependencies.txt \
    && python3 -m pip install -r dependencies.txt -c constraints.txt
COPY README.md LICENSE ./
COPY aggregator aggregator
COPY storage storage
COPY publisher publisher
COPY subscriber subscriber
RUN python3 -m pip install --no-deps .

FROM ${BASE}
# For a SQLite file, as a volume; with Postgres nothing is written.
RUN mkdir /data && chown 10001:10001 /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    AGGREGATOR_HOST=0.0.0.0
WORKDIR /data
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "aggregator"]
