import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyInstance } from 'fastify';

/** Bounds what the bodies that are on their way take together; each has a bound of its own besides. */
export function boundBodies(app: FastifyInstance, bytesMax: number = limits.requestBodiesBytesMax): void {
  let bytes = 0;
  app.addHook('preParsing', (request, reply, payload, done) => {
    // A body of unknown length may become as long as the longest.
    const length = Number(request.headers['content-length'] ?? limits.requestBodyBytesMax);
    let held = Math.min(length, limits.requestBodyBytesMax);
    if (bytes + held > bytesMax) {
      const message = `Over ${bytesMax} bytes of requests are on their way already; retry later.`;
      done(new ButterflyError('QUEUE_FULL', message));
      return;
    }
    bytes += held;
    const release = (): void => {
      bytes -= held;
      held = 0;
    };
    payload.once('end', release).once('close', release);
    // A body that is refused by its length is never read, and ends when its connection does.
    reply.raw.once('close', release);
    done(null, payload);
  });
}
