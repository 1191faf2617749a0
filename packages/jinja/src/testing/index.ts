export { conversations, familyTemplates } from './families.js';
export { drawTemplate, generatedVariables } from './generator.js';
