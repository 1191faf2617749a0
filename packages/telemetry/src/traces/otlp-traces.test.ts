import { type ButterflyEvent, ButterflyError, systemClock } from '@butterfly/common';
import { freePort } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { Telemetry } from '../live/telemetry.js';
import { Collector } from '../testing/collector.js';
import { told } from '../testing/told-request.js';
import { exactTracesEndpoint, openTraces, tracesEndpoint } from './open-traces.js';
import type { Traces } from './traces.js';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const parentId = '00f067aa0ba902b7';

/** Traces of a server that is told of requests here. */
class World implements AsyncDisposable {
  readonly heard: ButterflyEvent[] = [];

  private constructor(
    private readonly telemetry: Telemetry,
    readonly traces: Traces,
  ) {
    traces.watch({ timeline: (id) => telemetry.timeline(id), observe: (event) => this.heard.push(event) });
    this.tell(told.joined('w1', 'desk'), told.joined('w2', 'laptop'), told.live(1, 'w1', 'w2'));
  }

  static async start(url: string, sendMs = 5_000): Promise<World> {
    const wishes = {
      endpoint: tracesEndpoint(url),
      version: '1.2.3',
      clock: systemClock,
      gatheredMs: 10,
      sendMs,
    };
    return new World(new Telemetry(systemClock), await openTraces(wishes));
  }

  tell(...events: readonly ButterflyEvent[]): void {
    for (const event of events) {
      this.telemetry.observe(event);
      this.traces.observe(event);
    }
  }

  /** A whole request, with what its client says of a trace. */
  ask(requestId: string, trace?: { readonly traceparent: string; readonly tracestate?: string }): void {
    this.tell(
      { ...told.arrived(requestId), ...(trace && { trace }) },
      told.begun(requestId, 4),
      told.queued(requestId, 7, 4),
      told.step({ sequenceId: 7, rows: 4 }, 0),
      told.came(7),
      told.sequenceEnded(7),
      told.ended(requestId, 4, 1),
      told.sent(requestId),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.traces.close();
  }
}

/** What comes of one request, when all is sent. */
async function collected(traceparent?: string, tracestate?: string): Promise<Collector['spans']> {
  await using collector = await Collector.start();
  await using world = await World.start(collector.url);
  world.ask(
    'r1',
    traceparent === undefined ? undefined : { traceparent, ...(tracestate !== undefined && { tracestate }) },
  );
  await world.traces.close();
  return collector.spans;
}

describe('traces over OTLP', () => {
  it('have a span for each part of a request, of the service that computed it', async () => {
    const spans = await collected();
    const root = spans.find(({ kind }) => kind === 2);
    expect(root).toMatchObject({
      name: 'POST /v1/chat/completions',
      attributes: { 'gen_ai.request.model': 'stories', 'gen_ai.usage.output_tokens': 1 },
      resource: { 'service.name': 'butterfly', 'service.version': '1.2.3' },
      status: { code: 0 },
    });
    expect(root?.parentSpanId ?? '').toBe('');
    expect(new Set(spans.map((span) => span.traceId)).size).toBe(1);
    const prefill = spans.find(({ name }) => name === 'prefill');
    expect(prefill?.parentSpanId).toBe(root?.spanId);
    const stages = spans.filter(({ name }) => name === 'stage');
    expect(stages.map(({ resource }) => [resource['service.name'], resource['service.instance.id']])).toEqual(
      [
        ['butterfly-worker', 'w1'],
        ['butterfly-worker', 'w2'],
      ],
    );
    expect(stages.map(({ parentSpanId }) => parentSpanId)).toEqual([prefill?.spanId, prefill?.spanId]);
  });

  it('go on with the trace of the client, and keep its state', async () => {
    const spans = await collected(`00-${traceId}-${parentId}-01`, 'vendor=opaque,other=1');
    const root = spans.find(({ kind }) => kind === 2);
    expect(root).toMatchObject({ traceId, parentSpanId: parentId, traceState: 'vendor=opaque,other=1' });
    expect(new Set(spans.map((span) => span.traceId))).toEqual(new Set([traceId]));
  });

  it('of a client that records nothing are not recorded', async () => {
    expect(await collected(`00-${traceId}-${parentId}-00`)).toEqual([]);
  });

  it.each([
    'nonsense',
    `ff-${traceId}-${parentId}-01`,
    `00-${'0'.repeat(32)}-${parentId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${parentId}-01`,
    `00-${traceId}-${parentId}-01-more`,
  ])('begin anew where the client says %s', async (traceparent) => {
    const spans = await collected(traceparent, 'vendor=opaque');
    expect(spans).toHaveLength(5);
    const root = spans.find(({ kind }) => kind === 2);
    expect([root?.traceId === traceId, root?.parentSpanId ?? '', root?.traceState ?? '']).toEqual([
      false,
      '',
      '',
    ]);
  });

  it('of a later version of the headers are read as this one', async () => {
    const spans = await collected(`01-${traceId}-${parentId}-01-more`);
    expect(spans.find(({ kind }) => kind === 2)).toMatchObject({ traceId, parentSpanId: parentId });
  });

  it('have the error that is told after the end of an answer, and nothing of what computes nothing', async () => {
    await using collector = await Collector.start();
    await using world = await World.start(collector.url);
    const error = new ButterflyError('CANCELLED', 'They hung up.');
    world.tell(
      ...[told.arrived('r1'), told.begun('r1', 4), told.sent('r1', 200), told.ended('r1', 4, 0)],
      { kind: 'streamBroken', requestId: 'r1', isClientGone: true, error },
      ...[told.arrived('r2'), told.sent('r2')],
    );
    const root = await collector.until('trace', (spans) => spans[0] ?? null);
    expect(root.attributes).toMatchObject({ 'error.type': 'CANCELLED', 'butterfly.request.id': 'r1' });
    await world.traces.close();
    expect(collector.spans).toHaveLength(1);
  });

  it('that no one takes are told of once, and once when some are taken again', async () => {
    await using collector = await Collector.start();
    const { host } = new URL(collector.url);
    await using world = await World.start(collector.url);
    collector.refusesWith = 400;
    for (const count of [1, 2]) {
      world.ask(`r${count}`);
      await collector.until('refusal', () => (collector.refused === count ? true : null));
    }
    collector.refusesWith = null;
    world.ask('r3');
    await world.traces.close();
    expect(collector.spans).toHaveLength(5);
    expect(world.heard).toEqual([
      { kind: 'tracesNotTaken', collector: host, reason: 'Bad Request (400)' },
      { kind: 'tracesTakenAgain', collector: host, lostSpans: 10 },
    ]);
  });

  it('have nobody wait for a collector that is not there', async () => {
    const port = await freePort();
    const world = await World.start(`http://127.0.0.1:${port}`, 200);
    world.ask('r1');
    await world.traces.close();
    const { host } = new URL(`http://127.0.0.1:${port}`);
    const reason = expect.stringContaining('ECONNREFUSED') as string;
    expect(world.heard).toEqual([{ kind: 'tracesNotTaken', collector: host, reason }]);
  });

  it('go to where collectors take them, unless that is said', () => {
    expect(tracesEndpoint('http://127.0.0.1:4318')).toBe('http://127.0.0.1:4318/v1/traces');
    expect(tracesEndpoint('https://otel.example/in/')).toBe('https://otel.example/in/v1/traces');
    expect(tracesEndpoint('http://127.0.0.1:4318/v1/traces')).toBe('http://127.0.0.1:4318/v1/traces');
    expect(exactTracesEndpoint('http://127.0.0.1:4318/in')).toBe('http://127.0.0.1:4318/in');
    for (const bad of ['', '127.0.0.1:4318', 'grpc://127.0.0.1:4317', 'http://me:secret@127.0.0.1:4318'])
      expect(() => tracesEndpoint(bad)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});
