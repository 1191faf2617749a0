import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '@butterfly/common';
import { FairQueue } from './fair-queue.js';
import { checkQueue } from './queue-bounds.js';
import { nobody, TenantShares } from './tenant-shares.js';

interface Item {
  readonly id: number;
  readonly rank: number;
  readonly tenant: string;
  readonly priority: number;
  readonly tokens: number;
}

const tokensMax = 500;

/** A server that has one at a time, and gives it its tokens at once. */
class Server {
  readonly shares = new TenantShares();
  readonly queues: readonly FairQueue<Item>[];
  #lastId = 0;

  constructor(replicas = 1) {
    this.queues = Array.from({ length: replicas }, () => new FairQueue<Item>(this.shares));
  }

  ask(tenant: string, tokens: number, { replica = 0, priority = 0 } = {}): void {
    const id = ++this.#lastId;
    this.queues[replica]?.add({ id, rank: id, tenant, priority, tokens });
  }

  serve(replica = 0): Item | undefined {
    const queue = this.queues[replica];
    const item = queue?.head;
    if (item === undefined) return undefined;
    queue?.delete(item);
    this.shares.give(item.tenant, item.tokens);
    return item;
  }
}

const tokens = fc.integer({ min: 1, max: tokensMax });

describe('FairQueue', () => {
  it('gives two that always wait the same, but for one request, however many others come and go', () => {
    const happening = fc.record({ tenant: fc.constantFrom('c', 'd', 'e', 'f'), tokens, replica: fc.nat(1) });
    fc.assert(
      fc.property(fc.array(fc.tuple(happening, tokens, tokens), { maxLength: 200 }), (rounds) => {
        const server = new Server(2);
        const given = { a: 0, b: 0 };
        for (const [other, ofA, ofB] of rounds) {
          server.ask(other.tenant, other.tokens, { replica: other.replica });
          // Both always wait at both replicas: one request at least for each turn.
          for (const replica of [0, 1]) {
            for (let count = 0; count < 3; count++) server.ask('a', ofA, { replica });
            server.ask('b', ofB, { replica });
          }
          const served = server.serve(other.replica);
          if (served?.tenant === 'a' || served?.tenant === 'b') given[served.tenant] += served.tokens;
        }
        expect(Math.abs(given.a - given.b)).toBeLessThanOrEqual(tokensMax);
      }),
      { numRuns: 200 },
    );
  });

  it('lets nobody starve: who waits is passed by each other tenant for one request, and a head start of tokens, at most', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.array(tokens, { minLength: 1 }), (tenants, sizes) => {
        const server = new Server();
        const flood = (): void => {
          for (let tenant = 0; tenant < tenants; tenant++)
            for (const size of sizes) server.ask(`flood ${tenant}`, size);
        };
        flood();
        for (let turn = 0; turn < tenants; turn++) server.serve();
        server.ask('one', 1);
        const passed = new Map<string, number>();
        for (let served = server.serve(); served?.tenant !== 'one'; served = server.serve()) {
          const { tenant = '', tokens: size = 0 } = served ?? {};
          passed.set(tenant, (passed.get(tenant) ?? 0) + size);
          flood();
        }
        expect(Math.max(0, ...passed.values())).toBeLessThanOrEqual(2 * tokensMax);
      }),
      { numRuns: 100 },
    );
  });

  it('pays nobody for having been away', () => {
    const server = new Server();
    for (let count = 0; count < 100; count++) server.ask('busy', 100);
    for (let count = 0; count < 50; count++) server.serve();
    for (let count = 0; count < 100; count++) server.ask('fresh', 100);
    const turns = Array.from({ length: 10 }, () => server.serve()?.tenant);
    expect(turns.filter((tenant) => tenant === 'busy')).toHaveLength(5);
  });

  it('has the order of ranks within a tenant, and lets a better priority go first by a bounded number of tokens', () => {
    const server = new Server();
    server.ask('a', 600);
    server.ask('a', 600);
    for (let count = 0; count < 4; count++) server.ask('b', 600, { priority: 1 });
    const served = Array.from({ length: 6 }, () => server.serve());
    expect(served.map((item) => item?.tenant)).toEqual(['a', 'a', 'b', 'b', 'b', 'b']);
    expect(served.map((item) => item?.id)).toEqual([1, 2, 3, 4, 5, 6]);
    for (let count = 0; count < 6; count++) server.ask('a', 600);
    server.ask('b', 600, { priority: 1 });
    const turns = Array.from({ length: 7 }, () => server.serve()?.tenant);
    expect(turns.indexOf('b')).toBeGreaterThan(0);
    expect(turns).toContain('b');
  });

  it('remembers so many tenants and no more', () => {
    const shares = new TenantShares();
    for (let tenant = 0; tenant < limits.tenantsRememberedMax + 100; tenant++) {
      shares.waits(`${tenant}`);
      shares.give(`${tenant}`, tenant);
      shares.left(`${tenant}`);
    }
    const remembered = Array.from({ length: limits.tenantsRememberedMax + 100 }, (_, tenant) =>
      shares.given(`${tenant}`),
    );
    expect(remembered.filter((given) => given > 0).length).toBeLessThanOrEqual(limits.tenantsRememberedMax);
  });
});

describe('checkQueue', () => {
  /** Admits as many as the bounds let in. */
  const admit = (waiting: Map<string, number>, tenant: string): number => {
    const queue = {
      get waiting() {
        return [...waiting.values()].reduce((sum, count) => sum + count, 0);
      },
      waitingTokens: 0,
      waitingOf: (of: string) => ({ requests: waiting.get(of) ?? 0, tokens: 0 }),
    };
    for (;;) {
      try {
        checkQueue(queue, { promptTokens: Int32Array.of(1), tenant });
      } catch (error) {
        expect(error).toMatchObject({ code: 'QUEUE_FULL' });
        return waiting.get(tenant) ?? 0;
      }
      waiting.set(tenant, (waiting.get(tenant) ?? 0) + 1);
    }
  };

  it('leaves each newcomer a place, and gives whoever names no tenant all of them', () => {
    const waiting = new Map<string, number>();
    expect([admit(waiting, 'a'), admit(waiting, 'b'), admit(waiting, 'c')]).toEqual([512, 256, 128]);
    expect(admit(new Map(), nobody)).toBe(limits.queuedRequestsMax);
  });

  it('bounds the tokens of a tenant the same way, and lets a single prompt be as long as it may', () => {
    const queue = (own: number, all: number) => ({
      waiting: 1,
      waitingTokens: all,
      waitingOf: () => ({ requests: 1, tokens: own }),
    });
    const newcomer = (length: number) => ({ promptTokens: new Int32Array(length), tenant: 'a' });
    const most = limits.queuedTokensMax;
    expect(() => checkQueue(queue(0, most / 2), newcomer(most / 2))).not.toThrow();
    expect(() => checkQueue(queue(most / 2, most / 2), newcomer(1))).toThrow(
      /rest of the queue is for others/,
    );
    expect(() => checkQueue(queue(0, most), newcomer(1))).toThrow(/wait already; retry/);
  });
});
