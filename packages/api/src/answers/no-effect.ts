import { limits } from '@butterfly/common';
import type { FastifyReply } from 'fastify';

/** Says which fields were let through although they change nothing: names alone, and few. */
export function nameWithoutEffect(reply: FastifyReply, names: readonly string[]): void {
  if (names.length === 0) return;
  const shown = names.slice(0, limits.fieldsReportedMax);
  if (shown.length < names.length) shown.push('...');
  reply.header('x-butterfly-no-effect', shown.join(', '));
}
