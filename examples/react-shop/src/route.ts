/** As much of a router as the example needs: the path, and how to get to another. */
import { useCallback, useSyncExternalStore } from 'react';

const moved = 'shop:moved';

export function usePath(): [path: string, go: (path: string) => void] {
  const path = useSyncExternalStore(
    (listener) => {
      window.addEventListener('popstate', listener);
      window.addEventListener(moved, listener);
      return () => {
        window.removeEventListener('popstate', listener);
        window.removeEventListener(moved, listener);
      };
    },
    () => window.location.pathname,
  );
  const go = useCallback((next: string) => {
    window.history.pushState(null, '', next);
    window.dispatchEvent(new Event(moved));
  }, []);
  return [path, go];
}
