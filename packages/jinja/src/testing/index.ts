export { conversations } from './conversations.js';
export { familyTemplates } from './families.js';
export { drawTemplate, generatedVariables } from './generator.js';
