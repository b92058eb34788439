import { defineConfig } from 'vitest/config';
import { aliases } from './e2e/aliases.js';

// A real server and a real browser: one file after the other.
export default defineConfig({
  resolve: { alias: aliases },
  test: {
    include: ['e2e/**/*.test.ts'],
    environment: 'node',
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});
