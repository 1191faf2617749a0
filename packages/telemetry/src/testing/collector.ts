import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

const deadlineMs = 60_000;

type Value = string | number | boolean;

interface OtlpAttribute {
  readonly key: string;
  readonly value: {
    readonly stringValue?: string;
    readonly intValue?: number | string;
    readonly doubleValue?: number;
    readonly boolValue?: boolean;
  };
}

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly traceState?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly OtlpAttribute[];
  readonly status: { readonly code?: number };
}

interface OtlpBody {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly OtlpAttribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
  }[];
}

/** A span as it came. */
export interface CollectedSpan extends Omit<
  OtlpSpan,
  'attributes' | 'startTimeUnixNano' | 'endTimeUnixNano'
> {
  /** Since 1970. */
  readonly startNanos: bigint;
  readonly endNanos: bigint;
  readonly attributes: Readonly<Record<string, Value>>;
  readonly resource: Readonly<Record<string, Value>>;
}

/** A collector of traces on a port of the system's choice: takes OTLP as JSON over HTTP, and keeps all spans. */
export class Collector implements AsyncDisposable {
  readonly spans: CollectedSpan[] = [];
  /** All that came, as it came. */
  readonly bodies: string[] = [];
  /** Answered instead of taking anything. */
  refusesWith: number | null = null;
  /** How often it did so. */
  refused = 0;
  readonly #wakes = new Set<() => void>();

  private constructor(private readonly server: Server) {}

  /** @param port 0 lets the system choose */
  static async start(port = 0): Promise<Collector> {
    const server = createServer((request, response) => {
      void collector.#take(request).then((status) => {
        response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
        collector.#wake();
      });
    });
    const collector = new Collector(server);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return collector;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Waits for something of what came. */
  async until<T>(what: string, probe: (spans: readonly CollectedSpan[]) => T | null): Promise<T> {
    const endMs = performance.now() + deadlineMs;
    for (;;) {
      const found = probe(this.spans);
      if (found !== null) return found;
      if (performance.now() > endMs) throw new Error(`There was no ${what} in time.`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, endMs - performance.now());
        this.#wakes.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  async #take(request: IncomingMessage): Promise<number> {
    const body = await text(request);
    if (request.method !== 'POST' || request.url !== '/v1/traces') return 404;
    if (this.refusesWith !== null) {
      this.refused += 1;
      return this.refusesWith;
    }
    this.bodies.push(body);
    this.spans.push(...spansOf(JSON.parse(body) as OtlpBody));
    return 200;
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }
}

function spansOf({ resourceSpans }: OtlpBody): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(({ attributes, startTimeUnixNano, endTimeUnixNano, ...span }) => ({
        ...span,
        startNanos: BigInt(startTimeUnixNano),
        endNanos: BigInt(endTimeUnixNano),
        attributes: valuesOf(attributes),
        resource: valuesOf(resource.attributes),
      })),
    ),
  );
}

function valuesOf(attributes: readonly OtlpAttribute[]): Record<string, Value> {
  return Object.fromEntries(
    attributes.map(({ key, value: { stringValue, intValue, doubleValue, boolValue } }) => [
      key,
      stringValue ?? boolValue ?? Number(intValue ?? doubleValue),
    ]),
  );
}
