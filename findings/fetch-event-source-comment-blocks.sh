#!/usr/bin/env bash
# @microsoft/fetch-event-source 2.0.1 gives its caller a message for each block of comments alone.
#
# The HTML standard says of server-sent events that a block whose data is empty is no event; many servers
# send `: ping` and a blank line as a heartbeat. The message has no data, which JSON.parse does not take; what
# a caller throws is taken for a broken connection, and the stream is asked for again, from then on at each
# heartbeat, without a word. What stands behind the first heartbeat never comes. And where the server ends
# the answer, it is done, without an error, as a browser's EventSource would not be.
set -eu
command -v node >/dev/null && command -v npm >/dev/null || { echo "needs Node.js and npm" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit @microsoft/fetch-event-source@2.0.1 >&2
cat >seen.mjs <<'JAVASCRIPT'
import { createServer } from "node:http";

// What it takes of a page, besides fetch.
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = globalThis;
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

const onmessage = ({ id, data }) => {
  JSON.parse(data);
  console.log(`got ${id}`);
};

async function follow(stream) {
  let requests = 0;
  const enough = new AbortController();
  const server = createServer((request, response) => {
    requests += 1;
    console.log(`asked with Last-Event-ID ${request.headers["last-event-id"]}`);
    if (requests === 3) enough.abort();
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end(stream);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${server.address().port}/`;
  await fetchEventSource(url, { signal: enough.signal, onmessage });
  console.log(`done after ${requests}`);
  server.close();
}

const heartbeat = "retry: 10\nid: 1\ndata: {}\n\n: ping\n\nid: 2\ndata: {}\n\n";
await follow(heartbeat);
await follow("id: 1\ndata: {}\n\n");
process.exit(0);
JAVASCRIPT
node seen.mjs >seen
diff --unified - seen <<'SEEN'
asked with Last-Event-ID undefined
got 1
asked with Last-Event-ID 1
got 1
asked with Last-Event-ID 1
done after 3
asked with Last-Event-ID undefined
got 1
done after 1
SEEN
echo "as it was"
