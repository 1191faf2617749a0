import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { silentLogger } from '@butterfly/common';
import { cpuFeatures, loadGgml } from '@butterfly/ggml';

/** What the figures were measured on. */
function machine(): Record<string, unknown> {
  const ggml = loadGgml({ log: silentLogger });
  return {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    ggml: ggml.ggmlVersion,
    features: cpuFeatures(ggml).join(' '),
  };
}

/** Prints rows as a table with aligned columns. */
export function printTable(
  title: string,
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): void {
  const texts = [header, ...rows].map((row) =>
    row.map((cell) => (typeof cell === 'number' ? cell.toFixed(cell < 10 ? 2 : 1) : cell)),
  );
  const widths = header.map((_, column) => Math.max(...texts.map((row) => row[column]?.length ?? 0)));
  const lines = texts.map((row) => row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join('  '));
  process.stdout.write(`\n${title}\n${lines.join('\n')}\n`);
}

/** Writes the figures beside the table, with where and when they were measured. */
export function writeResult(name: string, result: object): void {
  const folder = fileURLToPath(new URL('../results/', import.meta.url));
  const dated = { machine: machine(), date: new Date().toISOString(), ...result };
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}${name}.json`, `${JSON.stringify(dated, null, 2)}\n`);
  process.stdout.write(`\nWritten to bench/results/${name}.json\n`);
}
