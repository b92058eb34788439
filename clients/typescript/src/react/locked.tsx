/** Says why something is locked, and what would help. No styles: only elements with classes. */
import { useEffect, useId, useRef } from 'react';
import type { ReactNode } from 'react';
import type { Remedy } from '../generated/types.gen.js';
import type { ModuleKey } from '../keys/names.js';
import type { Access } from './access.js';
import { useModule } from './hooks.js';
import { useProvided } from './provider.js';
import { fill } from './texts.js';
import type { ReasonText } from './texts.js';

/** The words for an answer. */
export function useReasonText(access: Access): ReasonText {
  const { texts, names } = useProvided();
  const reason = access.reason ?? 'other';
  const text = Object.hasOwn(texts.reasons, reason) ? texts.reasons[reason] : undefined;
  const { title, body } = text ?? texts.reasons.other;
  const values = { name: access.key === null ? texts.unnamed : nameOf(names, access.key), plans: planNames(access.remedies, names, texts.or) };
  return { title: capital(fill(title, values)), body: capital(fill(body, values)) };
}

/** What a locked area takes. */
export interface LockedProps {
  access: Access;
  /** What a remedy leads to; without one, remedies are text. */
  onRemedy?: ((remedy: Remedy) => void) | undefined;
  /** Of the heading; 2 if left out. */
  level?: 1 | 2 | 3 | 4 | undefined;
  /** Takes over a focus that was lost when it replaced something. */
  focus?: boolean | undefined;
  children?: ReactNode;
}

/** A locked area: why, and what would help. */
export function Locked({ access, onRemedy, level, focus, children }: LockedProps): ReactNode {
  const text = useReasonText(access);
  return (
    <Notice name="entitled-locked" text={text} level={level} focus={focus} reason={access.reason}>
      <UpgradeHint remedies={access.remedies} onRemedy={onRemedy} />
      {children}
    </Notice>
  );
}

/** A locked module, with the text for its reason. Shows nothing where it is not locked. */
export function ModuleLocked({ module, ...rest }: Omit<LockedProps, 'access'> & { module: ModuleKey }): ReactNode {
  const access = useModule(module);
  return access.denied ? <Locked access={access} {...rest} /> : null;
}

/** A plain refusal: no plan would help. */
export function Forbidden({ level, focus, children }: Omit<LockedProps, 'access' | 'onRemedy'>): ReactNode {
  const { texts } = useProvided();
  return (
    <Notice name="entitled-forbidden" text={texts.refused} level={level} focus={focus} reason="permission_denied">
      {children}
    </Notice>
  );
}

/** What a notice takes. */
interface NoticeProps {
  name: string;
  text: ReasonText;
  reason: string | null;
  level?: 1 | 2 | 3 | 4 | undefined;
  focus?: boolean | undefined;
  children?: ReactNode;
}

/** A region with a heading that can take the focus. */
export function Notice({ name, text, reason, level = 2, focus = false, children }: NoticeProps): ReactNode {
  const id = useId();
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // Only what was lost with the area that this replaces: never taken from somewhere else.
    if (focus && (document.activeElement === null || document.activeElement === document.body)) heading.current?.focus();
  }, [focus]);
  const Heading = `h${level}` as const;
  return (
    <section className={name} data-reason={reason ?? undefined} aria-labelledby={id}>
      <Heading id={id} ref={heading} tabIndex={-1}>
        {text.title}
      </Heading>
      <p>{text.body}</p>
      {children}
    </section>
  );
}

/** What a hint takes. */
export interface UpgradeHintProps {
  /** Of a decision, of an answer of a hook, or of an error. */
  remedies: readonly Remedy[];
  /** What a remedy leads to; without one, remedies are text. */
  onRemedy?: ((remedy: Remedy) => void) | undefined;
}

/** What would help, as a list. A kind of remedy that is not known here is left out. */
export function UpgradeHint({ remedies, onRemedy }: UpgradeHintProps): ReactNode {
  const { texts, names } = useProvided();
  const known = remedies.flatMap((remedy) => {
    const text = Object.hasOwn(texts.remedies, remedy.kind) ? texts.remedies[remedy.kind] : undefined;
    if (text === undefined) return [];
    const at = remedy.at ? new Date(remedy.at).toLocaleString() : '';
    return [{ remedy, text: fill(text, { plans: planNames([remedy], names, texts.or), at }) }];
  });
  if (known.length === 0) return null;
  return (
    <ul className="entitled-remedies">
      {known.map(({ remedy, text }) => (
        <li key={remedy.kind} data-remedy={remedy.kind}>
          {onRemedy ? (
            <button type="button" onClick={() => onRemedy(remedy)}>
              {text}
            </button>
          ) : (
            text
          )}
        </li>
      ))}
    </ul>
  );
}

/** How a key is called. */
export function nameOf(names: Readonly<Record<string, string>>, key: string): string {
  return Object.hasOwn(names, key) ? (names[key] ?? key) : key;
}

function planNames(remedies: readonly Remedy[], names: Readonly<Record<string, string>>, or: string): string {
  const plans = remedies.flatMap((it) => it.plans ?? []).map((key) => nameOf(names, key));
  const last = plans.pop();
  return last === undefined ? '' : plans.length === 0 ? last : plans.join(', ') + or + last;
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
