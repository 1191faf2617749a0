export { JinjaTemplate, valueOf } from './template.js';
