import type { FastifyReply, FastifyRequest } from 'fastify';

type Method = 'GET' | 'POST' | 'DELETE';
type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

/** What a path has, by method; it answers 405 to the others. */
export type RouteHandlers = Partial<Record<Method, Handler>>;

/** Adds a path with one method. */
export type AddRoute = (method: Method, url: string, handler: Handler) => void;
