export { describeStage } from './stage-contract.js';
export { describeFile, ggml, loadStage, openSource, part, smallModel, trainedModel } from './stages.js';
