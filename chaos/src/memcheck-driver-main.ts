import { silentLogger } from '@butterfly/common';
import { loadGgml, loadVocabulary } from '@butterfly/ggml';
import { SplitModel } from '@butterfly/stage';

/** What runs under valgrind: each file in two stages, its tokens read and written, a prompt and some tokens computed. */
const contextTokens = 512;
/** More than a tile of attention, and more than some windows. */
const promptTokens = 70;
const decodedTokens = 4;

for (const path of process.argv.slice(2)) {
  using vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), path);
  const tokens = vocabulary.tokenize('Once upon a time, 2 × 3 = 6.', {
    addSpecial: true,
    parseSpecial: true,
  });
  for (const token of tokens) vocabulary.tokenText(token);
  using model = await SplitModel.load(path, { stages: 2, threads: 1, contextTokens });
  const prompt = Array.from({ length: promptTokens }, (_, index) => 3 + index);
  let { likeliest } = await model.run(prompt, 0);
  for (let position = promptTokens; position < promptTokens + decodedTokens; position++)
    ({ likeliest } = await model.run([likeliest], position));
  process.stdout.write(`computed ${path}: ${likeliest}\n`);
}
