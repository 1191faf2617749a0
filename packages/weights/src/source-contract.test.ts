import { join } from 'node:path';
import { systemClock } from '@butterfly/common';
import { tcpTransport } from '@butterfly/wire';
import { LocalSource } from './local-source.js';
import { openShardSource } from './shard-source.js';
import { describeTensorSource } from './testing/source-contract.js';
import { joinServer, rangesOf, startServer } from './testing/sources.js';
import { WeightCache } from './weight-cache.js';

describeTensorSource('files of this machine', async ({ spec }) => {
  const source = await LocalSource.open(spec);
  if (!source) throw new RangeError('the files are there');
  return source;
});

describeTensorSource('a server over a connection', async ({ content }, keep) => {
  const server = keep(await startServer(rangesOf(content)));
  return keep(await joinServer(server)).remote;
});

describeTensorSource('whatever is nearest', async ({ spec, content, folder }, keep) => {
  const server = keep(await startServer(rangesOf(content)));
  const { remote } = keep(await joinServer(server));
  const observe = (): void => undefined;
  return openShardSource({
    spec,
    cache: await WeightCache.open({ directory: join(folder, 'cache'), bytesMax: 1e9, observe }),
    sources: [],
    orchestrator: remote,
    peerToken: 'peer',
    channel: 1,
    transport: tcpTransport,
    clock: systemClock,
    localFiles: false,
    observe,
  });
});
