import type { RequestSpan, RequestTimeline } from '@butterfly/telemetry';

/** A bar of a row; places from 0 to 1 of the whole time. */
export interface TimelineBar {
  readonly kind: RequestSpan['kind'] | 'compute';
  readonly from: number;
  readonly to: number;
  /** How much of its time was computed, from 0 to 1; 1 for what is no computation. */
  readonly weight: number;
  readonly words: string;
}

export interface TimelineRow {
  readonly name: string;
  /** Of whom it is: the life of an answer, or what a stage computed of it. */
  readonly kind: 'life' | 'stage';
  readonly sequence: number;
  readonly bars: readonly TimelineBar[];
}

export interface TimelineShape {
  /** From the request's arrival to its end, or till now. */
  readonly totalMs: number;
  readonly rows: readonly TimelineRow[];
  /** From 0 to 1; null before the first token. */
  readonly firstToken: number | null;
}

const kindWords: Readonly<Record<RequestSpan['kind'], string>> = {
  queue: 'queued',
  prefill: 'prompt',
  decode: 'tokens',
  recovery: 'recovery after a loss',
  replay: 'replay of what was known',
  pushedOut: 'pushed out for others',
};

/** In the order of a life. */
export const spanKinds = Object.keys(kindWords) as RequestSpan['kind'][];

export const spanWords = (kind: RequestSpan['kind']): string => kindWords[kind];

/** Lays a request out in rows: for each answer its life, and below it a row for each stage. Pure. */
export function shapeOf(request: RequestTimeline, nowMs: number): TimelineShape {
  const lastMs = Math.max(0, ...request.spans.map(({ startMs, endMs }) => endMs ?? startMs));
  const sinceMs = (request.endedMs ?? nowMs) - request.startedMs;
  const totalMs = Math.max(1, lastMs, sinceMs);
  const endOf = (span: RequestSpan): number => span.endMs ?? totalMs;
  const sequences = [...new Set(request.spans.map(({ sequence }) => sequence))].sort((a, b) => a - b);
  const rows = sequences.flatMap((sequence): TimelineRow[] => {
    const spans = request.spans.filter((span) => span.sequence === sequence);
    const life = spans.map((span): TimelineBar => {
      const { kind, startMs } = span;
      const [from, to] = [startMs / totalMs, endOf(span) / totalMs];
      return { kind, from, to, weight: 1, words: wordsOf(span, endOf(span)) };
    });
    return [{ name: `answer ${sequence + 1}`, kind: 'life', sequence, bars: life }, ...stageRows(spans)];
  });
  return {
    totalMs,
    rows,
    firstToken: request.firstTokenMs === null ? null : request.firstTokenMs / totalMs,
  };

  function stageRows(spans: readonly RequestSpan[]): TimelineRow[] {
    const stages = new Map<string, { name: string; first: number; bars: TimelineBar[] }>();
    for (const span of spans)
      for (const { workerId, name, layers, computeMs, hostMs } of span.stages) {
        const row = stages.get(workerId) ?? { name, first: layers[0], bars: [] };
        const lengthMs = Math.max(1e-3, endOf(span) - span.startMs);
        row.bars.push({
          kind: 'compute',
          from: span.startMs / totalMs,
          to: endOf(span) / totalMs,
          weight: Math.min(1, computeMs / lengthMs),
          words: `${name}, layers ${layers[0]}–${layers[1]}: computed ${tenths(computeMs)} ms, own code ${tenths(hostMs)} ms`,
        });
        stages.set(workerId, row);
      }
    return [...stages.values()]
      .sort((a, b) => a.first - b.first)
      .map(({ name, bars }) => ({ name, kind: 'stage', sequence: spans[0]?.sequence ?? 0, bars }));
  }
}

const tenths = (ms: number): string => String(Math.round(ms * 10) / 10);

function wordsOf(span: RequestSpan, endMs: number): string {
  const { kind, startMs, tokens, steps, epoch, replica, words } = span;
  const parts = [
    `${spanWords(kind)}: ${tenths(startMs)} to ${tenths(endMs)} ms`,
    ...(tokens > 0
      ? [`${tokens} ${tokens === 1 ? 'token' : 'tokens'} in ${steps} ${steps === 1 ? 'step' : 'steps'}`]
      : []),
    ...(epoch === null ? [] : [`plan ${epoch}`]),
    ...(replica === null || replica === 1 ? [] : [`replica ${replica}`]),
    ...(words === null ? [] : [words]),
  ];
  return parts.join(', ');
}

/** Marks of an axis from 0 on, about five of them, at numbers that people like. */
export function marksOf(totalMs: number): number[] {
  const rough = totalMs / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10) * power;
  const marks: number[] = [];
  for (let at = 0; at <= totalMs; at += step) marks.push(at);
  return marks;
}
