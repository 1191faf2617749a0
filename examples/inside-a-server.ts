// The whole API of Butterfly inside a server of yours, which decides who may ask: npm install hono @hono/node-server
import { serve } from '@hono/node-server';
import { createCluster } from 'butterfly';
import { Hono } from 'hono';

const cluster = await createCluster();
const app = new Hono();
app.get('/', (context) => context.text(`This server has ${cluster.modelId}.`));
app.use('/v1/*', async (context, next) => {
  if (context.req.header('authorization') !== 'Bearer secret') return context.text('Who are you?', 401);
  await next();
});
app.all('/v1/*', (context) => cluster.fetch(context.req.raw));

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
  console.log(`http://127.0.0.1:${port}`);
});
process.once('SIGTERM', () => {
  server.close();
  void cluster.close();
});
