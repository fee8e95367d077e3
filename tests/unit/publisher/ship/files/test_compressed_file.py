"""Compressed files, however they are read: in any steps, at any places, with several members."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.publisher.ship.files.compressing import COMPRESS, FLUSHED

from publisher.ship.files.compressed_file import CompressedFile
from publisher.ship.files.decoders import Decoder, GzipDecoder
from publisher.ship.files.readable_file import Damaged, open_file

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")

_LINES = b"".join(b"%d: %d\n" % (i, random.Random(i).getrandbits(32)) for i in range(30_000))
"""More than what is decoded in a step, or read at once of an archive."""

contents = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda start, size: _LINES[start : start + size], *[st.integers(0, 250_000)] * 2),
)
places = st.tuples(st.integers(0, 600_000), st.integers(0, 200_000))


@given(
    suffix=st.sampled_from(list(COMPRESS)),
    members=st.lists(contents, min_size=1, max_size=4),
    padding=st.integers(0, 3),
    reads=st.lists(st.one_of(places, st.none()), min_size=1, max_size=8),
)
def test_any_place_has_the_bytes_of_the_content(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    members: list[bytes],
    padding: int,
    reads: list[tuple[int, int] | None],
) -> None:
    path = tmp_path_factory.mktemp("archive") / f"app.log{suffix}"
    path.write_bytes(bytes(padding).join(map(COMPRESS[suffix], members)) + bytes(padding))
    plain = b"".join(members)
    file = open_file(path)
    for read in reads:
        if read is None:
            file.close()
        else:
            position, size = read
            assert file.read(position, size) == plain[position : position + size]
    assert file.read(len(plain), 1) == b""
    assert not file.ends_early
    file.close()


@given(
    suffix=st.sampled_from(list(COMPRESS)),
    members=st.lists(contents, min_size=1, max_size=3),
    cuts=st.lists(st.floats(0, 1), max_size=4),
    closes=st.booleans(),
)
def test_archive_that_grows_is_read_on(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    members: list[bytes],
    cuts: list[float],
    closes: bool,
) -> None:
    path = tmp_path_factory.mktemp("archive") / f"app.log{suffix}"
    archives = list(map(COMPRESS[suffix], members))
    whole = b"".join(archives)
    ends = {sum(map(len, archives[:count])) for count in range(1, len(archives) + 1)}
    path.write_bytes(b"")
    file = open_file(path)
    read = b""
    for size in [*sorted(int(cut * len(whole)) for cut in cuts), len(whole)]:
        path.write_bytes(whole[:size])
        while more := file.read(len(read), 100_000):
            read += more
        assert b"".join(members).startswith(read)
        assert file.ends_early == (size not in ends)
        if closes:
            file.close()
    assert read == b"".join(members)
    file.close()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_archive_that_ends_early_gives_all_that_was_flushed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"app.log{suffix}"
    path.write_bytes(FLUSHED[suffix](_LINES))
    file = open_file(path)
    found = file.read(0, len(_LINES))
    # bzip2 keeps a block until it is full.
    assert _LINES.startswith(found)
    assert len(found) > len(_LINES) - (200_000 if suffix == ".bz2" else 1)
    assert file.read(len(found), 1) == b""
    assert file.ends_early
    file.close()


def broken_inside(archive: bytes) -> bytes:
    return archive[: len(archive) // 2] + bytes(1000) + archive[len(archive) // 2 + 1000 :]


def followed_by_text(archive: bytes) -> bytes:
    return archive + b"and something else\n"


@pytest.mark.parametrize("spoil", [broken_inside, followed_by_text])
@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_is_before_the_damage_is_read(
    tmp_path: Path, suffix: str, spoil: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"app.log{suffix}"
    path.write_bytes(spoil(COMPRESS[suffix](_LINES)))
    file = open_file(path)
    with pytest.raises(Damaged, match=rf"'{path}' is broken behind byte [0-9,]+ of its content: "):
        file.read(2 * len(_LINES), 1)
    read = file.read(0, 2 * len(_LINES))
    assert len(read) > 100_000
    # gzip has no sum but that at its end.
    assert _LINES.startswith(read[:100_000])
    assert (read == _LINES) == (spoil is followed_by_text)
    for _ in range(2):
        with pytest.raises(Damaged):
            file.read(len(read), 1)
    path.write_bytes(COMPRESS[suffix](_LINES))
    file.close()
    assert file.read(len(read), 100) == _LINES[len(read) :][:100]
    assert file.read(0, 2 * len(_LINES)) == _LINES
    file.close()


def test_wrong_sum_at_the_end_is_a_damage(tmp_path: Path) -> None:
    path = tmp_path / "app.log.gz"
    archive = bytearray(COMPRESS[".gz"](b"one\n"))
    archive[-5] ^= 1
    path.write_bytes(archive)
    file = open_file(path)
    with pytest.raises(Damaged, match="incorrect data check"):
        file.read(0, 100)
    file.close()


def test_archive_of_pzstd_begins_with_a_frame_that_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "app.log.zst"
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    path.write_bytes(skipped + COMPRESS[".zst"](b"one\n") + skipped)
    file = open_file(path)
    assert file.is_compressed
    assert file.read(0, 100) == b"one\n"
    assert file.read(4, 100) == b""
    assert not file.ends_early
    file.close()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_memory_is_bounded_for_data_that_are_all_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"app.log{suffix}"
    size = 50_000_000
    path.write_bytes(COMPRESS[suffix](bytes(size)))
    file = open_file(path)
    tracemalloc.start()
    assert file.read(size - 10, 20) == bytes(10)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Decoders have up to 4 MB of their own.
    assert peak_bytes < 5_000_000
    file.close()


def test_reading_a_little_before_the_place_does_not_decode_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    path = tmp_path / "app.log.gz"
    path.write_bytes(gzip.compress(_LINES))
    file = open_file(path)
    assert isinstance(file, CompressedFile)

    def counted() -> Decoder:
        made.append(1)
        return GzipDecoder()

    monkeypatch.setattr(file, "_kind", file._kind._replace(make_decoder=counted))
    # Each read ends a little behind what is decoded in a step.
    for position in range(0, len(_LINES), 65_600):
        start = max(position - 1024, 0)
        assert file.read(start, position + 65_600 - start) == _LINES[start : position + 65_600]
    assert len(made) == 1
    file.read(0, 1)
    assert len(made) == 2
    file.close()


def test_decoder_of_gzip_gives_what_it_holds_back_without_more_input() -> None:
    archive = FLUSHED[".gz"](b"a" * 10_000)
    for size in range(len(archive) + 1):
        whole = zlib.decompressobj(wbits=31).decompress(archive[:size])
        for max_length in (1, 258, 5000):
            decoder = GzipDecoder()
            plain = decoder.decompress(archive[:size], max_length)
            while not decoder.needs_input:
                plain += decoder.decompress(b"", max_length)
            assert plain == whole
