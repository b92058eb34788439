import { readFileSync } from 'node:fs';
import { defineConfig } from '@hey-api/openapi-ts';

const document = JSON.parse(readFileSync(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'));

// The document says `nullable` beside `enum`; the generator hears of null only where the enum lists it.
function listNull(schema) {
  if (typeof schema !== 'object' || schema === null) return;
  if (schema.nullable === true && Array.isArray(schema.enum) && !schema.enum.includes(null)) {
    schema.enum.push(null);
  }
  Object.values(schema).forEach(listNull);
}
listNull(document);

// `ENTITLED_GENERATE_TO` is for the test that compares a fresh run with what is committed.
export default defineConfig({
  input: document,
  output: {
    path: process.env.ENTITLED_GENERATE_TO ?? 'src/generated',
    // Node resolves modules by their whole name.
    importFileExtension: '.js',
  },
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
});
