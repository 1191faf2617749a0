import type { FastifyReply, FastifyRequest } from 'fastify';

/** Adds a route for those who run the cluster. */
export type AddAdminRoute = (
  method: 'GET' | 'POST',
  url: string,
  handler: (request: FastifyRequest, reply: FastifyReply) => unknown,
) => void;
