// Load on an aggregator, and the proof that it counted every event: `k6 run publish.js`.
//
// What is sent is a pure function of the position in the run, so it is known without any state
// that virtual users would have to share how many events are new: exactly UNIQUE, whatever is
// repeated, tried again, or under way at the same time. docs/develop/k6.md says how to run it.

import { check, sleep } from 'k6';
import { randomBytes } from 'k6/crypto';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const BASE_URL = text(
  'URL', 'http://127.0.0.1:8080', /^https?:\/\/[^\s?#]+$/, 'an http or https URL without ? and #',
).replace(/\/+$/, '');
const BATCH = wholeNumber('BATCH', 100, 1, 10000);
const REQUESTS = Math.ceil(wholeNumber('EVENTS', 20000, 1, 10000000) / BATCH);
const VUS = Math.min(wholeNumber('VUS', 20, 1, 10000), REQUESTS);
const TOPICS = text(
  'TOPICS', 'auth,orders,payment', /^[\w.-]{1,249}(,[\w.-]{1,249})*$/,
  'names of 1 to 249 characters of A-Z a-z 0-9 . _ -, with commas between them',
).split(',');
const RUN = text(
  'RUN', '', /^[^\x00-\x1f\x7f]{0,200}$/, 'at most 200 characters, no control characters',
);
const DEADLINE_S = number('DEADLINE_S', 300, 1, 86400);
const P95_MS = number('P95_MS', 10000, 1, 86400000);

const TOTAL = REQUESTS * BATCH;
const UNIQUE = TOTAL - Math.ceil(TOTAL * number('DUPLICATES', 0.3, 0, 1));
if (new Set(TOPICS).size < TOPICS.length) {
  throw new Error(`TOPICS must not name a topic twice: '${TOPICS}'`);
}
if (UNIQUE < 1) {
  throw new Error(`DUPLICATES leaves no new event among ${TOTAL}: choose less`);
}

const ATTEMPT_TIMEOUT_S = 60;
const FIRST_WAIT_S = 0.1;
const MAX_WAIT_S = 10;
// What k6 calls the status of no answer, and of half an answer.
const NO_ANSWER = 0;
const TRIED_AGAIN = [NO_ANSWER, 429, 502, 503, 504];
const VERDICTS = ['stored', 'duplicate', 'conflict'];
const COUNTS = ['received', 'unique_processed', 'duplicate_dropped', 'conflicts'];

const eventsPublished = new Counter('events_published');
const duplicatesDropped = new Counter('duplicates_dropped');
const publishRetries = new Counter('publish_retries');
const publishesGivenUp = new Counter('publishes_given_up');
const topicsConserved = new Counter('topics_conserved');
const publishDuration = new Trend('publish_duration', true);

export const options = {
  scenarios: {
    publish: {
      executor: 'shared-iterations',
      vus: VUS,
      iterations: REQUESTS,
      // What bounds a run is the deadline of each of its requests.
      maxDuration: '24h',
    },
  },
  setupTimeout: `${DEADLINE_S + ATTEMPT_TIMEOUT_S}s`,
  teardownTimeout: `${DEADLINE_S + ATTEMPT_TIMEOUT_S}s`,
  // http_req_failed has none: with an aggregator that restarts, failed tries are as it should be.
  thresholds: {
    checks: ['rate==1'],
    events_published: [`count==${TOTAL}`],
    duplicates_dropped: [`count>=${TOTAL - UNIQUE}`],
    publishes_given_up: ['count==0'],
    // Not met either if teardown did not come to its end.
    topics_conserved: [`count==${TOPICS.length}`],
    publish_duration: [`p(95)<${P95_MS}`],
  },
};

export function setup() {
  // So that the summary says 0, too.
  publishRetries.add(0);
  return { run: RUN || freshRun(), before: stats() };
}

export default function ({ run }) {
  const events = eventsOf(exec.scenario.iterationInTest, run);
  const body = JSON.stringify(events);
  const begun = Date.now();
  const response = untilAnswered((timeout) =>
    http.post(`${BASE_URL}/publish`, body, { timeout, headers: { 'Content-Type': 'application/json' } }),
  );
  publishDuration.add(Date.now() - begun);
  if (!check(response, { 'publish: answered with 200': ({ status }) => status === 200 })) {
    console.error(`a publish was not acknowledged: ${described(response)}`);
    return;
  }
  const answer = contentOf(response);
  const fits = check(answer, {
    'publish: received is what was sent': ({ received }) => received === events.length,
    'publish: received = unique_processed + duplicate_dropped': conserves,
    'publish: each event has its verdict': ({ results }) => areVerdicts(results, events),
    'publish: the counts are those of the verdicts': (content) =>
      content.unique_processed === verdicts(content, 'stored') &&
      content.conflicts === verdicts(content, 'conflict'),
    'publish: no event is in conflict': ({ conflicts }) => conflicts === 0,
  });
  if (!fits) {
    console.error(`a publish was answered wrongly: ${described(response)}`);
    return;
  }
  eventsPublished.add(answer.received);
  duplicatesDropped.add(answer.duplicate_dropped);
}

export function teardown({ run, before }) {
  const after = stats();
  const sent = TOPICS.map(() => 0);
  for (let position = 0; position < TOTAL; position += 1) {
    sent[numberAt(position) % TOPICS.length] += 1;
  }
  TOPICS.forEach((topic, index) => {
    const counts = after.topics[topic] || nothing();
    const grown = growth(before.topics[topic] || nothing(), counts);
    const fresh = Math.floor((UNIQUE + TOPICS.length - 1 - index) / TOPICS.length);
    const holds = check(grown, {
      'stats: received = unique_processed + duplicate_dropped': () => conserves(counts),
      'stats: head_offset = unique_processed': () => counts.head_offset === counts.unique_processed,
      'stats: unique_processed grew by the new events': (g) => g.unique_processed === fresh,
      // A try whose answer was lost counts too, and how many there were is not known here.
      'stats: received grew by what was sent': (g) => g.received >= sent[index],
      'stats: conflicts did not grow': (g) => g.conflicts === 0,
    });
    if (holds) {
      topicsConserved.add(1);
    } else {
      console.error(
        `${topic}: of ${sent[index]} events sent ${fresh} were new, /stats grew by ` +
          `${JSON.stringify(grown)} to ${JSON.stringify(counts)}`,
      );
    }
  });
  check(after, { 'stats: in all, received = unique_processed + duplicate_dropped': conserves });
  if (after.complete) {
    const all = Object.values(after.topics);
    check(after, {
      'stats: in all, the counts are the sums of the topics': (counts) =>
        COUNTS.every((name) => counts[name] === all.reduce((sum, topic) => sum + topic[name], 0)),
    });
  }
  console.log(`run ${run}: ${TOTAL} events sent, of these ${UNIQUE} new, ${TOTAL - UNIQUE} repeated`);
}

// The number, from 0 on, of the event at a position of the whole run. New numbers come in order
// and evenly spread. Every position between two of them repeats, in turns the newest event and one
// of up to three requests before, which may be under way on another connection at this moment.
function numberAt(position) {
  const newest = newestAt(position);
  if (position === 0 || newest !== newestAt(position - 1)) {
    return newest;
  }
  const repeat = position - newest - 1;
  return repeat % 2 === 0 ? newest : newestAt(Math.max(0, position - (1 + (repeat % 3)) * BATCH));
}

function newestAt(position) {
  return Math.floor((position * UNIQUE) / TOTAL);
}

function eventsOf(request, run) {
  const timestamp = new Date().toISOString();
  return Array.from({ length: BATCH }, (_, place) => {
    const event = numberAt(request * BATCH + place);
    return {
      topic: TOPICS[event % TOPICS.length],
      event_id: `${run}-e-${event + 1}`,
      timestamp,
      source: 'k6',
      // The same for each repetition: anything else would be a conflict.
      payload: { number: event + 1, text: 'x'.repeat(100) },
    };
  });
}

// Sends until there is an answer that another try would not change, or the deadline would pass
// before the next try. Waits as long as is drawn between 0 and 0.1 s * 2^(retry - 1), at most 10 s
// (exponential backoff with full jitter), and not shorter than Retry-After says.
function untilAnswered(send) {
  const giveUpAt = Date.now() + DEADLINE_S * 1000;
  for (let retry = 1; ; retry += 1) {
    const leftMs = Math.max(1, giveUpAt - Date.now());
    const response = send(Math.min(ATTEMPT_TIMEOUT_S * 1000, leftMs));
    if (!TRIED_AGAIN.includes(response.status)) {
      return response;
    }
    const drawnS = Math.random() * Math.min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** (retry - 1));
    const waitS = Math.max(drawnS, retryAfterS(response));
    if (Date.now() + waitS * 1000 >= giveUpAt) {
      publishesGivenUp.add(1);
      return response;
    }
    publishRetries.add(1);
    sleep(waitS);
  }
}

function retryAfterS({ headers }) {
  const asked = headers['Retry-After'] || '';
  const seconds = /^\d+$/.test(asked) ? Number(asked) : (Date.parse(asked) - Date.now()) / 1000;
  return Math.max(0, seconds || 0);
}

// With the counts of every topic of the run that there is, although one answer lists a thousand.
function stats() {
  const content = statsOf('');
  if (!content.complete) {
    TOPICS.filter((topic) => !content.topics[topic]).forEach((topic) => {
      Object.assign(content.topics, statsOf(`?topic=${topic}`).topics);
    });
  }
  return content;
}

function statsOf(query) {
  const response = untilAnswered((timeout) => http.get(`${BASE_URL}/stats${query}`, { timeout }));
  const content = contentOf(response);
  if (response.status !== 200 || !content.topics) {
    throw new Error(`${BASE_URL}/stats gives no counts: ${described(response)}`);
  }
  content.complete = !response.headers.Link;
  return content;
}

// Gives {} for what is not JSON: it has none of the members that the checks ask for.
function contentOf(response) {
  try {
    return response.json() || {};
  } catch (_) {
    return {};
  }
}

function conserves(counts) {
  return counts.received === counts.unique_processed + counts.duplicate_dropped;
}

function areVerdicts(results, events) {
  return (
    Array.isArray(results) &&
    results.length === events.length &&
    results.every(
      ({ topic, event_id: id, status, offset }, place) =>
        topic === events[place].topic &&
        id === events[place].event_id &&
        VERDICTS.includes(status) &&
        offset >= 1,
    )
  );
}

function verdicts({ results }, status) {
  return (results || []).filter((result) => result.status === status).length;
}

function nothing() {
  return { received: 0, unique_processed: 0, duplicate_dropped: 0, conflicts: 0, head_offset: 0 };
}

function growth(before, after) {
  return Object.fromEntries(COUNTS.map((name) => [name, after[name] - before[name]]));
}

function described(response) {
  const said = response.error || String(response.body).slice(0, 200);
  return `status ${response.status}, ${said}`;
}

// As publisher.ids.NumberedIds has it: Unix seconds, then 32 random bits.
function freshRun() {
  const random = Array.from(new Uint8Array(randomBytes(4)), (byte) => hex(byte, 2)).join('');
  return hex(Math.floor(Date.now() / 1000), 8) + random;
}

function hex(value, digits) {
  return value.toString(16).padStart(digits, '0');
}

function text(name, byDefault, form, meaning) {
  const value = __ENV[name] === undefined ? byDefault : __ENV[name];
  if (!form.test(value)) {
    throw new Error(`${name} must be ${meaning}, not '${value}'`);
  }
  return value;
}

function number(name, byDefault, least, most) {
  return ranged(name, byDefault, least, most, /^\d+(\.\d+)?$/, 'a number');
}

function wholeNumber(name, byDefault, least, most) {
  return ranged(name, byDefault, least, most, /^\d+$/, 'a whole number');
}

function ranged(name, byDefault, least, most, form, kind) {
  const meaning = `${kind} from ${least} to ${most}`;
  const value = text(name, String(byDefault), form, meaning);
  if (Number(value) < least || Number(value) > most) {
    throw new Error(`${name} must be ${meaning}, not '${value}'`);
  }
  return Number(value);
}
