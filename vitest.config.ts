import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['butterfly-source'] },
  ssr: { resolve: { conditions: ['butterfly-source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'bench/src/**/*.test.ts', 'training/src/**/*.test.ts'],
    setupFiles: ['./vitest.setup.ts'],
    // Native libraries and child processes: a process per file, and never more than the two cores of CI.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
