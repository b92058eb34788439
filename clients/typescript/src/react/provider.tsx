/** Gives everything below it the entitlements of one identity. */
import { createContext, useContext, useEffect, useMemo, useRef } from 'react';
import type { ReactNode } from 'react';
import { EntitlementsStore } from './store.js';
import type { StoreOptions } from './store.js';
import { withChanges } from './texts.js';
import type { TextChanges, Texts } from './texts.js';

/** What the provider takes. */
export interface EntitlementsProviderProps extends Omit<StoreOptions, 'clock'> {
  children?: ReactNode;
  /** Replaces texts, to translate them. */
  texts?: TextChanges | undefined;
  /** How modules, features and plans are called; a key that is not here is shown as it is. */
  names?: Readonly<Record<string, string>> | undefined;
  /** A store of one's own, instead of all the options. */
  store?: EntitlementsStore | undefined;
}

interface Provided {
  store: EntitlementsStore;
  texts: Texts;
  names: Readonly<Record<string, string>>;
}

const Provision = createContext<Provided | null>(null);

/**
 * Loads the entitlements once for everything below it, and keeps them fresh.
 *
 * ```tsx
 * <EntitlementsProvider url="/api/entitlements" eventsUrl="/api/events" identity={session.id}>
 *   <App />
 * </EntitlementsProvider>
 * ```
 *
 * Change `identity` when somebody else signs in, or the tenant is switched: nothing that was known
 * of the one is shown to the other.
 */
export function EntitlementsProvider(props: EntitlementsProviderProps): ReactNode {
  const { children, texts, names, url, eventsUrl, identity } = props;
  const latest = useRef(props);
  latest.current = props;
  // A payload that came with the page belongs to whom the page was made for.
  const shown = useRef<{ initial: unknown; identity: string | undefined } | null>(null);

  const store = useMemo(() => {
    if (props.store !== undefined) return props.store;
    const before = shown.current;
    const others = before !== null && before.initial === props.initial && before.identity !== identity;
    const { initial, storage, pollMs, outage, keepForMs, timeoutMs } = props;
    return new EntitlementsStore({
      ...{ url, eventsUrl, identity, storage, pollMs, outage, keepForMs, timeoutMs },
      initial: others ? null : initial,
      // Functions may be new at each rendering; the newest is asked.
      headers: () => latest.current.headers?.() ?? {},
      fetch: (input, init) => (latest.current.fetch ?? globalThis.fetch)(input, init),
      onUnauthorized: () => latest.current.onUnauthorized?.() ?? false,
    });
    // The other options are read once: they don't change whose entitlements these are.
  }, [props.store, url, eventsUrl, identity]);

  useEffect(() => {
    shown.current = { initial: latest.current.initial, identity };
    return store.start();
  }, [store, identity]);

  const provided = useMemo(() => ({ store, texts: withChanges(texts), names: names ?? {} }), [store, texts, names]);
  return <Provision.Provider value={provided}>{children}</Provision.Provider>;
}

/** What the provider above gives. */
export function useProvided(): Provided {
  const provided = useContext(Provision);
  if (provided === null) throw new Error('There is no <EntitlementsProvider> above this component.');
  return provided;
}
