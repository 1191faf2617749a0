export { hasNats, NatsServers } from './nats-servers.js';
