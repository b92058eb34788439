/** Puts the shop's own backend into vite's development server. */
import type { Plugin } from 'vite';
import { shopBackend } from './backend.ts';

export function shopPlugin(): Plugin {
  return {
    name: 'shop-backend',
    configureServer(server) {
      const { ENTITLED_URL: url, ENTITLED_KEY: key } = process.env;
      if (url === undefined || key === undefined) {
        throw new Error('Set ENTITLED_URL and ENTITLED_KEY, or use `npm run demo`.');
      }
      server.middlewares.use(shopBackend({ url, key }));
    },
  };
}
