import { operationOf } from '../asked-routes.js';
import type { RequestSpan, RequestTimeline, SpanStage } from '../view/request-view.js';
import type { FollowedRequest } from './followed-requests.js';
import type { AttributeName, SpanName } from './span-table.js';

export type SpanAttributes = Readonly<Partial<Record<AttributeName, string | number>>>;

/** A span as it is to be told, with those below it. Times in milliseconds since 1970. */
export interface PlannedSpan {
  readonly kind: SpanName;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: SpanAttributes;
  /** Whether it failed, and that was not its client's doing. */
  readonly isFailed: boolean;
  /** Who computed it; null for the orchestrator. */
  readonly workerId: string | null;
  readonly children: readonly PlannedSpan[];
}

/** Milliseconds since 1970. */
interface Stretch {
  readonly startMs: number;
  readonly endMs: number;
}

/** The spans of a request that is over, each within the one above it. Nothing of what was asked or answered is in them. */
export function requestSpans(followed: FollowedRequest, timeline: RequestTimeline): PlannedSpan {
  const { startedMs } = timeline;
  const own = { startMs: startedMs, endMs: Math.max(startedMs, followed.endedMs) };
  return {
    ...own,
    ...{ kind: 'request', name: followed.route, workerId: null },
    attributes: attributesOf(followed, timeline),
    isFailed: (followed.error?.kind.httpStatus ?? 0) >= 500,
    children: timeline.spans.map((span) => lifeSpan(span, startedMs, own)),
  };
}

function attributesOf(
  { route, status, answer, error }: FollowedRequest,
  { id, modelId, tenant, cachedTokens, firstTokenMs, replays }: RequestTimeline,
): SpanAttributes {
  const [method, path] = route.split(' ');
  return known({
    'http.request.method': method,
    'http.route': path,
    'http.response.status_code': status,
    'error.type': error?.code,
    'gen_ai.operation.name': operationOf(route),
    'gen_ai.provider.name': 'butterfly',
    'gen_ai.request.model': modelId,
    'gen_ai.response.id': answer?.completionId,
    'gen_ai.usage.input_tokens': answer?.promptTokens,
    'gen_ai.usage.output_tokens': answer?.outputTokens,
    'gen_ai.usage.cache_read.input_tokens': answer && cachedTokens,
    'butterfly.request.id': id,
    'butterfly.key.id': tenant,
    'butterfly.first_token_ms': firstTokenMs,
    'butterfly.replays': replays,
  });
}

const names = {
  queue: 'queue',
  prefill: 'prefill',
  replay: 'replay',
  decode: 'decode',
  recovery: 'recovery',
  pushedOut: 'pushed_out',
} as const satisfies Readonly<Record<RequestSpan['kind'], SpanName>>;

function lifeSpan(span: RequestSpan, arrivedMs: number, above: Stretch): PlannedSpan {
  const { sequence, tokens, steps, epoch, replica, stages, words } = span;
  const own = within(above, arrivedMs + span.startMs, arrivedMs + (span.endMs ?? Infinity));
  const kind = names[span.kind];
  return {
    ...own,
    ...{ kind, name: kind, isFailed: false, workerId: null },
    attributes: known({
      'butterfly.sequence': sequence,
      ...(steps > 0 && { 'butterfly.tokens': tokens, 'butterfly.steps': steps }),
      'butterfly.epoch': epoch,
      'butterfly.replica': replica,
      'butterfly.reason': words,
    }),
    children: stageSpans(stages, own),
  };
}

/**
 * How long each stage took of a stretch, one behind the other from its beginning, as a step goes through them. When each of
 * them began is not measured, and of several steps they are sums; what is left at the end is on the way between them.
 */
function stageSpans(stages: readonly SpanStage[], above: Stretch): PlannedSpan[] {
  const told = stages.map((stage) => stage.computeMs + stage.hostMs);
  const sumMs = told.reduce((sum, ms) => sum + ms, 0);
  // Steps of one sequence may be under way at once, in several stages.
  const scale = Math.min(1, (above.endMs - above.startMs) / Math.max(sumMs, Number.MIN_VALUE));
  let atMs = above.startMs;
  return stages.map(({ workerId, name, layers, computeMs, hostMs }, index) => {
    const own = within(above, atMs, atMs + (told[index] ?? 0) * scale);
    atMs = own.endMs;
    return {
      ...own,
      ...{ kind: 'stage', name: 'stage', isFailed: false, workerId, children: [] },
      attributes: {
        'butterfly.worker.id': workerId,
        'butterfly.worker.name': name,
        'butterfly.layers': layers.join('-'),
        'butterfly.compute_ms': computeMs,
        'butterfly.host_ms': hostMs,
      },
    };
  });
}

function within(above: Stretch, startMs: number, endMs: number): Stretch {
  const start = Math.min(Math.max(startMs, above.startMs), above.endMs);
  return { startMs: start, endMs: Math.min(Math.max(endMs, start), above.endMs) };
}

function known(
  all: Readonly<Partial<Record<AttributeName, string | number | null | undefined>>>,
): SpanAttributes {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null && value !== undefined));
}
