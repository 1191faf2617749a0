import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Debian's own Python, which sees Debian's python3-jinja2. */
const python = '/usr/bin/python3';
const script = fileURLToPath(new URL('render.py', import.meta.url));

export const hasJinja = spawnSync(python, ['-c', 'import jinja2']).status === 0;

export interface Job {
  readonly template: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** A text, or the error that kept it from being rendered. */
export interface Rendering {
  readonly text?: string;
  readonly error?: string;
}

/** Has Python render all of them, in one process. */
export async function renderByPython(jobs: readonly Job[]): Promise<readonly Rendering[]> {
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  for (const job of jobs) child.stdin.write(`${JSON.stringify(job)}\n`);
  child.stdin.end();
  const renderings: Rendering[] = [];
  const read = async (): Promise<void> => {
    for await (const line of createInterface({ input: child.stdout }))
      renderings.push(JSON.parse(line) as Rendering);
  };
  await Promise.race([read(), failed]);
  return renderings;
}
