// Makes the reference of the library from its public doors, with all types that they name: `npm run docs`, into build/api/.
// `--check` writes nothing. Whatever has no docstring, a link to nothing, or a type that no door gives is a fault.
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Application } from 'typedoc';

const root = resolve(import.meta.dirname, '..');
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

const packages = readdirSync(join(root, 'packages')).map(
  (name) => JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8')).name,
);

const app = await Application.bootstrap({
  name: 'Butterfly',
  entryPoints: ['index.ts', 'ai.ts'].map((door) => join(root, 'packages/butterfly/src', door)),
  tsconfig: join(root, 'tsconfig.docs.json'),
  readme: join(root, 'docs/library.md'),
  // The compiler has its own step.
  skipErrorChecking: true,
  excludePrivate: true,
  githubPages: false,
  disableGit: true,
  sourceLinkTemplate: '',
  disableSources: true,
  packagesRequiringDocumentation: packages,
  requiredToBeDocumented: [
    ...['Function', 'Class', 'Interface', 'TypeAlias', 'Variable', 'Method', 'Accessor', 'Constructor'],
  ],
  validation: { notExported: true, invalidLink: true, invalidPath: true, notDocumented: true },
  logLevel: 'Warn',
});

const project = await app.convert();
if (!project) process.exit(1);
app.validate(project);
const missing = new Map();
collect(app.serializer.projectToObject(project, root), []);
for (const [name, where] of missing)
  app.logger.warn(`${name} is named by ${where}, and no public door gives it.`);

if (!values.check) await app.generateDocs(project, join(root, 'build/api'));
const faults = app.logger.warningCount + app.logger.errorCount;
console.log(`reference: ${faults === 0 ? 'as it should be' : `${faults} faults`}`);
process.exitCode = faults === 0 ? 0 : 1;

/** TypeDoc takes types of other packages of the workspace for those of strangers. */
function collect(value, path) {
  if (Array.isArray(value)) value.forEach((each) => collect(each, path));
  else if (typeof value === 'object' && value !== null) {
    const here = typeof value.kind === 'number' && value.name ? [...path, value.name] : path;
    const { type, target } = value;
    if (type === 'reference' && typeof target === 'object' && packages.includes(value.package))
      missing.set(`${target.qualifiedName} (${value.package})`, here.slice(2).join('.'));
    for (const each of Object.values(value)) collect(each, here);
  }
}
