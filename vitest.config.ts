import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { configDefaults, defineConfig } from 'vitest/config';

/** A small trained model of others, which lies beside the checkout where Butterfly is developed. */
const sharedModel = '../shared/models/aidreams-260k.gguf';

/** Tests that need it, by itself or through a helper; left out, and said so, where it is missing. */
function withoutSharedModel(): string[] {
  if (existsSync(new URL(sharedModel, import.meta.url))) return [];
  const files = execFileSync('git', ['ls-files', '*.test.ts'], {
    cwd: import.meta.dirname,
    encoding: 'utf8',
  });
  const needy = files
    .split('\n')
    .filter((file) => file !== '')
    .filter((file) =>
      /aidreams-260k|\btrainedModel\b|testing\/(?:models|server)/.test(
        readFileSync(new URL(file, import.meta.url), 'utf8'),
      ),
    );
  console.warn(
    `${sharedModel} is not beside this checkout: ${needy.length} test files that need it are left out.`,
  );
  return needy;
}

export default defineConfig({
  resolve: { conditions: ['butterfly-source'] },
  ssr: { resolve: { conditions: ['butterfly-source'] } },
  test: {
    include: [
      'packages/*/src/**/*.test.ts',
      'bench/src/**/*.test.ts',
      'chaos/src/**/*.test.ts',
      'fuzz/src/**/*.test.ts',
      'training/src/**/*.test.ts',
    ],
    exclude: [...configDefaults.exclude, ...withoutSharedModel()],
    setupFiles: ['./vitest.setup.ts'],
    // Native libraries and child processes: a process per file, and never more than the two cores of CI.
    pool: 'forks',
    maxWorkers: 2,
    // Only what hangs is to fail by time, however much else the machine does.
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});
