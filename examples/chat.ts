// A chat with a model on two worker processes.
import { createCluster } from 'butterfly';

await using cluster = await createCluster({ workers: 2 });
const messages = [{ role: 'user', content: 'Who is the best friend of Finn?' }];
for await (const event of cluster.chat({ messages, temperature: 0 })) {
  if (event.kind === 'text') process.stdout.write(event.text);
  if (event.kind === 'usage') console.log(`\n${event.usage.outputTokens} tokens`);
}
