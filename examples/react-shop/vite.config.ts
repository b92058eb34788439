import { defineConfig } from 'vite';
import { shopPlugin } from './server/plugin.ts';

export default defineConfig({
  plugins: [shopPlugin()],
  // The client is linked from beside this folder; both must use the same React.
  resolve: { dedupe: ['react', 'react-dom'] },
});
