// One line of JSON for each line of a file: node batch.js prompts.txt
import { open } from 'node:fs/promises';
import { createCluster } from 'butterfly';

const atOnce = 4;
const path = process.argv[2];
if (path === undefined) throw new Error('Say which file: node batch.js prompts.txt');
await using file = await open(path);
await using cluster = await createCluster({ parallel: atOnce });
const lines = file.readLines()[Symbol.asyncIterator]();

async function lane(): Promise<void> {
  for (let line = await lines.next(); line.done !== true; line = await lines.next()) {
    const prompt = line.value;
    const text = await cluster.generate({ prompt, max_tokens: 24, temperature: 0 }).text();
    console.log(JSON.stringify({ prompt, text }));
  }
}

await Promise.all(Array.from({ length: atOnce }, lane));
