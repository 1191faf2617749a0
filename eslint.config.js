import js from '@eslint/js';
import importX from 'eslint-plugin-import-x';
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';
import tseslint from 'typescript-eslint';
import { folders, packages } from './scripts/layers.mjs';

const testFiles = ['**/*.test.ts', '**/testing/**'];
const sourceFiles = ['**/*.ts', '**/*.tsx'];

/** Each package may import those below it, through their doors. */
const packageRules = Object.entries(packages).map(([name, below]) => ({
  files: [`packages/${name}/src/**/*.{ts,tsx}`],
  ignores: testFiles,
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            regex: `^(?:@butterfly/(?!(?:${['_', ...below].join('|')})$)|butterfly(?:/|$)${below.includes('butterfly') ? '.+' : ''})`,
            message: `${name} may import only: ${below.join(', ') || 'nothing'} (and through its door).`,
          },
        ],
      },
    ],
  },
}));

/** Each folder of a package may import those below it. */
const folderRules = Object.entries(folders).map(([name, rooms]) => ({
  files: [`packages/${name}/src/**/*.{ts,tsx}`],
  ignores: testFiles,
  rules: {
    'import-x/no-restricted-paths': [
      'error',
      {
        zones: Object.entries(rooms).map(([room, below]) => ({
          target: `./packages/${name}/src/${room}`,
          from: `./packages/${name}/src`,
          except: [room, ...below].map((each) => `./${each}`),
          message: `${name}/src/${room} may import only: ${below.join(', ') || 'nothing'} of its package.`,
        })),
      },
    ],
  },
}));

export default tseslint.config(
  {
    ignores: [
      '**/dist/**',
      'build/**',
      '**/node_modules/**',
      '**/.cache/**',
      'examples/**',
      'vitest.config.ts',
      'vitest.setup.ts',
    ],
  },
  js.configs.recommended,
  {
    files: ['scripts/*.mjs'],
    languageOptions: { globals: { console: 'readonly', process: 'readonly', URL: 'readonly' } },
  },
  {
    files: sourceFiles,
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver-next': [createTypeScriptImportResolver({ alwaysTryTypes: true })] },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      'import-x/no-cycle': 'error',
      'max-lines': ['error', 400],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // A using is there for what becomes of it at the end.
      '@typescript-eslint/no-unused-vars': ['error', { ignoreUsingDeclarations: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
    },
  },
  { files: sourceFiles, ignores: testFiles, rules: { 'max-lines-per-function': ['error', 70] } },
  ...packageRules,
  ...folderRules,
  {
    files: ['packages/*/src/**/*.{ts,tsx}'],
    ignores: ['packages/cli/**', 'packages/testkit/**', '**/*.test.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Configuration is read once, in main.' },
      ],
    },
  },
  {
    files: ['packages/cli/src/**/*.ts'],
    ignores: ['packages/cli/src/terminal.ts', '**/*.test.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'CallExpression[callee.property.name="write"][callee.object.property.name=/^std(out|err)$/]',
          message: 'What goes to a terminal passes the guard of terminal.ts.',
        },
      ],
    },
  },
);
