/** Shows what a server refused: guidance to an upgrade on 402, a plain refusal on 403. */
import type { ReactNode } from 'react';
import { isObject } from '../client/shapes.js';
import type { Remedy } from '../generated/types.gen.js';
import { Notice, UpgradeHint } from './locked.js';
import { useProvided } from './provider.js';

/** A refusal, as far as it can be read out of an answer or an error. */
export interface Refused {
  kind: 'upgrade' | 'forbidden';
  code: string | null;
  message: string | null;
  remedies: Remedy[];
}

/**
 * Reads a refusal out of what an application's own API answered (a decision or problem details), or
 * out of an error that has them. Null where it is something else, such as a fault of the network.
 */
export function refusalOf(value: unknown, status?: number): Refused | null {
  if (!isObject(value)) return null;
  const inner = [value.problem, value.body, value.data].find(isObject);
  const read = { ...inner, ...value };
  const code = status ?? read.status;
  if (code !== 402 && code !== 403) return null;
  const text = [read.detail, inner?.detail, read.message].find((it) => typeof it === 'string');
  const remedies = Array.isArray(read.remedies) ? (read.remedies.filter(isRemedy) as Remedy[]) : [];
  return {
    kind: code === 402 ? 'upgrade' : 'forbidden',
    code: typeof read.code === 'string' ? read.code : null,
    message: typeof text === 'string' && text !== '' ? text : null,
    remedies: code === 402 ? remedies : [],
  };
}

function isRemedy(value: unknown): boolean {
  return isObject(value) && typeof value.kind === 'string';
}

/** What a refusal takes. */
export interface RefusalProps {
  /** What came back: see {@link refusalOf}. */
  error: unknown;
  /** The HTTP status, where the error doesn't have it. */
  status?: number;
  /** What a remedy leads to; without one, remedies are text. */
  onRemedy?: (remedy: Remedy) => void;
  /** What is shown where it is no refusal. */
  children?: ReactNode;
}

/** The refusal with its words. */
export function Refusal({ error, status, onRemedy, children }: RefusalProps): ReactNode {
  const { texts } = useProvided();
  const refused = refusalOf(error, status);
  if (refused === null) return children;
  const { kind, code, message, remedies } = refused;
  const words = kind === 'upgrade' ? texts.upgrade : texts.refused;
  return (
    <div role="alert">
      <Notice name={`entitled-${kind}`} text={{ ...words, body: message ?? words.body }} reason={code}>
        <UpgradeHint remedies={remedies} onRemedy={onRemedy} />
      </Notice>
    </div>
  );
}
