/** Small things to show beside others: how long a trial runs, how much of a limit is used. */
import { useEffect, useId, useState } from 'react';
import type { ReactNode } from 'react';
import type { FeatureKey } from '../keys/names.js';
import { useEntitlements, useLimit } from './hooks.js';
import { nameOf } from './locked.js';
import { useProvided } from './provider.js';
import { fill } from './texts.js';

const HOUR = 3_600_000;

/** How long the trial of the plan still runs. Shows nothing where there is none. */
export function TrialBadge({ className = 'entitled-trial' }: { className?: string }): ReactNode {
  const { plan } = useEntitlements();
  const { texts } = useProvided();
  const [now, setNow] = useState(Date.now);
  const end = plan?.status === 'trialing' ? plan.trial_expires_at : null;
  useEffect(() => {
    if (end === null) return;
    let timer: ReturnType<typeof setTimeout>;
    const look = () => {
      setNow(Date.now());
      const left = Date.parse(end) - Date.now();
      // Every minute, and at the end itself.
      if (left > 0) timer = setTimeout(look, Math.min(60_000, left + 1));
    };
    look();
    return () => clearTimeout(timer);
  }, [end]);
  if (end === null) return null;
  const hours = Math.ceil((Date.parse(end) - now) / HOUR);
  const days = Math.ceil(hours / 24);
  const text = !(hours > 0)
    ? texts.trialEnded
    : hours < 24
      ? fill(texts.trialHours, { hours })
      : days === 1
        ? texts.trialLastDay
        : fill(texts.trialDays, { days });
  return (
    <time className={className} dateTime={end}>
      {text}
    </time>
  );
}

/** Says that the tenant is a sandbox, so that nobody takes it for a customer. Shows nothing for any other. */
export function SandboxBadge({ className = 'entitled-sandbox' }: { className?: string }): ReactNode {
  const { payload } = useEntitlements();
  const { texts } = useProvided();
  return payload?.sandbox ? <strong className={className}>{texts.sandbox}</strong> : null;
}

/** What a meter takes. */
export interface LimitMeterProps {
  limit: FeatureKey;
  /** What it is called; the name of the feature if left out. */
  label?: string;
  className?: string;
}

/** How much of a limit is used, as a meter with its words. */
export function LimitMeter({ limit: key, label, className = 'entitled-limit' }: LimitMeterProps): ReactNode {
  const { loading, unlimited, limit, used, reason } = useLimit(key);
  const { texts, names } = useProvided();
  const id = useId();
  const max = Math.max(limit ?? 0, 1);
  const known = !loading && reason !== 'unavailable' && reason !== 'unknown_key';
  const text = !known
    ? texts.limitUnknown
    : fill(unlimited ? texts.limitUnlimited : texts.limitUsed, { used, limit: limit ?? 0 });
  return (
    <span className={className} data-full={known && !unlimited && used >= (limit ?? 0)}>
      <span id={id}>{label ?? nameOf(names, key)}</span>{' '}
      {known && !unlimited && (
        // Browsers colour it: fine up to 80 %, then less so, and full.
        <meter
          aria-labelledby={id}
          min={0}
          max={max}
          low={max * 0.8}
          high={max * 0.999}
          optimum={0}
          value={limit === 0 ? 1 : Math.min(used, max)}
        />
      )}{' '}
      <span>{text}</span>
    </span>
  );
}
