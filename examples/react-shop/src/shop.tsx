import { EntitlementsProvider } from '@entitled/client/react';
import { Frame } from './frame.tsx';
import { NAMES } from './nav.ts';
import { useSession } from './session.ts';

/** The whole shop, for whoever is signed in. */
export function Shop() {
  const { session, failed, signIn } = useSession();
  if (session === null) return <p className="wait">{failed ?? 'Opening the shop …'}</p>;
  return (
    <EntitlementsProvider
      url="/api/entitlements"
      eventsUrl="/api/events"
      identity={`${session.tenant}/${session.user}`}
      storage={sessionStorage}
      names={NAMES}
    >
      {failed !== null && <p role="alert" className="failed">{failed}</p>}
      <Frame session={session} signIn={signIn} />
    </EntitlementsProvider>
  );
}
