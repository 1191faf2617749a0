// The AI SDK on a cluster inside the program: npm install ai@6 @ai-sdk/openai-compatible@2
import { streamText } from 'ai';
import { createCluster } from 'butterfly';
import { createButterfly } from 'butterfly/ai';

await using cluster = await createCluster();
const butterfly = createButterfly(cluster);
const { textStream } = streamText({
  model: butterfly(cluster.modelId),
  prompt: 'Who is the best friend of Finn?',
  temperature: 0,
});
for await (const piece of textStream) process.stdout.write(piece);
process.stdout.write('\n');
