/**
 * Looks at the shape of the house, which ESLint does not see: no circles of files, not even by types alone; no long
 * chains of imports; no crowded folders; nothing but product code in the build.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { packages } from './layers.mjs';

const levelsMax = 8;
const filesPerFolderMax = 20;
const root = resolve(import.meta.dirname, '..');
const isTest = (path) => /\.test\.ts$|[/\\]testing[/\\]/.test(path);
const faults = [];

/** All files below a folder that end in one of these ways. */
function filesBelow(folder, ...endings) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** What a file imports of its own package, types included. */
function importsOf(path, known) {
  const { importedFiles } = ts.preProcessFile(readFileSync(path, 'utf8'), true, true);
  return importedFiles
    .filter(({ fileName }) => fileName.startsWith('.'))
    .flatMap(({ fileName }) =>
      ['.ts', '.tsx'].map((ending) => resolve(dirname(path), fileName.replace(/\.js$/, ending))),
    )
    .filter((target) => known.has(target));
}

/** The longest chain of imports that begins with each file; a circle is told and counts as its end. */
function chains(graph, source) {
  const longest = new Map();
  const visit = (file, under) => {
    if (under.includes(file)) {
      const circle = [...under.slice(under.indexOf(file)), file].map((each) => relative(source, each));
      faults.push(`${relative(root, source)}: a circle, types included: ${circle.join(' > ')}`);
      return [];
    }
    const known = longest.get(file);
    if (known) return known;
    const below = (graph.get(file) ?? []).map((target) => visit(target, [...under, file]));
    const chain = [file, ...(below.sort((a, b) => b.length - a.length)[0] ?? [])];
    longest.set(file, chain);
    return chain;
  };
  for (const file of graph.keys()) visit(file, []);
  return longest;
}

for (const name of [...Object.keys(packages), 'cli']) {
  const source = join(root, 'packages', name, 'src');
  const files = filesBelow(source, '.ts', '.tsx').filter((path) => !isTest(path));
  const inner = new Set(files.filter((path) => path !== join(source, 'index.ts')));
  const graph = new Map([...inner].map((path) => [path, importsOf(path, inner)]));
  const deepest = [...chains(graph, source).values()].sort((a, b) => b.length - a.length)[0] ?? [];
  if (deepest.length > levelsMax)
    faults.push(
      `packages/${name}: ${deepest.length} levels of imports, more than ${levelsMax}: ${deepest.map((path) => relative(source, path)).join(' > ')}`,
    );
  const counts = new Map();
  for (const path of files) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
  for (const [folder, count] of counts)
    if (count > filesPerFolderMax)
      faults.push(`${relative(root, folder)}: ${count} source files, more than ${filesPerFolderMax}.`);
  const built = join(root, 'packages', name, 'dist');
  if (!existsSync(built)) continue;
  const tests = filesBelow(built, '.js').filter((path) => /\.test\.js$|[/\\]testing[/\\]/.test(path));
  if (tests.length > 0)
    faults.push(`packages/${name}/dist: ${tests.length} files of tests; clean and build anew.`);
}

for (const fault of faults) console.error(fault);
console.log(`structure: ${faults.length === 0 ? 'as it should be' : `${faults.length} faults`}`);
process.exitCode = faults.length === 0 ? 0 : 1;
