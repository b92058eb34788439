/** Show, hide, lock or disable by what may be used. */
import { Children, Fragment, cloneElement, isValidElement, useEffect, useId, useRef } from 'react';
import type { ReactNode, SyntheticEvent } from 'react';
import type { Remedy } from '../generated/types.gen.js';
import type { Access, Need } from './access.js';
import { useAccess } from './hooks.js';
import { Forbidden, Locked, useReasonText } from './locked.js';
import type { LockedProps } from './locked.js';

/** What a gate takes: what is needed, and what to do without it. */
export interface EntitlementGateProps extends Need {
  children?: ReactNode;
  /**
   * What is shown where it is denied. `hide` (if left out): nothing. `lock`: the reason and what
   * would help. `disable`: the children, which can't be used, with the reason.
   */
  mode?: 'hide' | 'lock' | 'disable';
  /** What is shown instead where it is denied. */
  fallback?: ReactNode | ((access: Access) => ReactNode);
  /** What is shown until it is known. */
  loading?: ReactNode;
  /** With `lock`: what a remedy leads to; without one, remedies are text. */
  onRemedy?: (remedy: Remedy) => void;
  /** With `lock`: of the heading; 2 if left out. */
  level?: 1 | 2 | 3 | 4;
}

/** Shows its children where everything that is named may be used. */
export function EntitlementGate(props: EntitlementGateProps): ReactNode {
  const { children, mode = 'hide', fallback, loading, onRemedy, level, ...need } = props;
  const access = useAccess(need);
  const replaced = useReplaced(access);
  if (access.allowed) return children;
  if (mode === 'disable' && fallback === undefined) {
    if (access.loading && loading !== undefined) return loading;
    return <Disabled access={access}>{children}</Disabled>;
  }
  if (access.loading) return loading;
  if (typeof fallback === 'function') return fallback(access);
  if (fallback !== undefined) return fallback;
  return mode === 'lock' ? <Denied access={access} focus={replaced} onRemedy={onRemedy} level={level} /> : null;
}

/** The same as {@link EntitlementGate}, for one feature. */
export function FeatureGate(props: EntitlementGateProps): ReactNode {
  return <EntitlementGate {...props} />;
}

/** What a guard of a route takes. */
export interface RequireProps extends Omit<EntitlementGateProps, 'mode'> {}

/** Shows its children where a module may be used, and else why not. For routes. */
export function RequireModule(props: RequireProps & { module: NonNullable<Need['module']> }): ReactNode {
  return <EntitlementGate {...props} mode="lock" />;
}

/** Shows its children where the user has a permission, and else a plain refusal. For routes. */
export function RequirePermission(props: RequireProps & { permission: NonNullable<Need['permission']> }): ReactNode {
  return <EntitlementGate {...props} mode="lock" />;
}

function Denied({ access, onRemedy, ...rest }: LockedProps): ReactNode {
  const plain = access.kind === 'permission' && access.reason === 'permission_denied';
  return plain ? <Forbidden {...rest} /> : <Locked access={access} onRemedy={onRemedy} {...rest} />;
}

/** Whether something that was shown has just been locked, so that a focus inside it was lost. */
function useReplaced(access: Access): boolean {
  const was = useRef(access.status);
  const replaced = was.current === 'allowed' && access.denied;
  useEffect(() => {
    was.current = access.status;
  }, [access.status]);
  return replaced;
}

function Disabled({ access, children }: { access: Access; children: ReactNode }): ReactNode {
  const id = useId();
  const { title, body } = useReasonText(access);
  const text = access.loading ? '' : `${title}. ${body}`;
  return (
    <>
      {disable(children, id, text)}
      <span id={id} hidden>
        {text}
      </span>
    </>
  );
}

type Loose = Record<string, unknown> & { children?: ReactNode };

const CONTROLS = new Set(['input', 'select', 'textarea', 'fieldset', 'option', 'optgroup']);

/**
 * Takes out of use what is inside: links and buttons, which stay in the order of the keyboard so that
 * the reason can be found; other controls; and components of one's own, which are told `disabled`.
 */
function disable(node: ReactNode, describedby: string, title: string): ReactNode {
  return Children.map(node, (child) => {
    if (!isValidElement<Loose>(child)) return child;
    const { type, props } = child;
    const said: Loose = { 'aria-disabled': true, 'aria-describedby': describedby, title: title || undefined };
    if (type === 'button') return cloneElement(child, { ...said, ...silent(props), type: 'button' });
    if (type === 'a') return cloneElement(child, { ...said, ...silent(props), href: undefined, role: 'link', tabIndex: 0 });
    const holds = (typeof type === 'string' && !CONTROLS.has(type)) || type === Fragment;
    // What only holds others has nothing to disable but them.
    if (holds) return cloneElement(child, type === Fragment ? {} : silent(props), disable(props.children, describedby, title));
    return cloneElement(child, { ...said, disabled: true });
  });
}

/** Without what a click, a key or a touch would set off. */
function silent(props: Loose): Loose {
  const names = /^(on(Click|DoubleClick|Key|Touch|Pointer|Mouse|Submit)|popovertarget|commandfor)/i;
  const acting = Object.keys(props).filter((name) => names.test(name));
  const without = Object.fromEntries(acting.map((name) => [name, undefined]));
  return { ...without, onClick: stop };
}

function stop(event: SyntheticEvent): void {
  event.preventDefault();
  event.stopPropagation();
}
