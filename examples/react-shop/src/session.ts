/** Who is signed in, as the backend knows it. */
import { useCallback, useEffect, useState } from 'react';

export interface Session {
  tenant: string;
  user: string;
}

export function useSession() {
  const [session, setSession] = useState<Session | null>(null);
  const [failed, setFailed] = useState<string | null>(null);

  const take = useCallback(async (answer: Promise<Response>) => {
    try {
      const response = await answer;
      const body: unknown = await response.json();
      if (!response.ok) throw new Error((body as { detail?: string }).detail);
      setFailed(null);
      setSession(body as Session);
    } catch (error) {
      setFailed(error instanceof Error && error.message ? error.message : 'The shop can’t be reached.');
    }
  }, []);

  useEffect(() => {
    void take(fetch('/api/session'));
  }, [take]);

  const signIn = useCallback(
    (next: Session) => take(fetch('/api/session', { method: 'POST', body: JSON.stringify(next) })),
    [take],
  );
  return { session, failed, signIn };
}
