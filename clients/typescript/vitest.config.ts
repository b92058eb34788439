import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/**/*.test.{ts,tsx}'], environment: 'node', restoreMocks: true, maxWorkers: 2, minWorkers: 1 },
});
