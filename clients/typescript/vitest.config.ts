import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/**/*.test.{ts,tsx}'], environment: 'node', restoreMocks: true, testTimeout: 20_000, maxWorkers: 2, minWorkers: 1 },
});
