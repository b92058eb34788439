/** What people read, in English; each of it can be replaced. */

/** A title and a sentence. `{name}` is what is locked, `{plans}` the plans that would open it. */
export interface ReasonText {
  title: string;
  body: string;
}

/** All texts. */
export interface Texts {
  /** By the server's reason; `other` for one that is not listed. */
  reasons: Record<string, ReasonText> & { other: ReasonText };
  /** By the kind of remedy; one that is not listed is not shown. */
  remedies: Record<string, string>;
  /** The name of what has none. */
  unnamed: string;
  /** Between two plans: “Growth or Enterprise”. */
  or: string;
  /** Of a trial; `{days}` or `{hours}` are left. */
  trialDays: string;
  trialLastDay: string;
  trialHours: string;
  trialEnded: string;
  /** Of a tenant that is no customer but a test. */
  sandbox: string;
  /** Of a limit: `{used}`, `{limit}`. */
  limitUsed: string;
  limitUnlimited: string;
  limitUnknown: string;
  /** Of a plain refusal (403). */
  refused: ReasonText;
  /** Of a refusal that a plan would lift (402). */
  upgrade: ReasonText;
}

/** The texts that are shown if none are given. */
export const english: Texts = {
  reasons: {
    plan_limit: { title: '{name} is not part of your plan', body: 'Upgrade to use it.' },
    overdue: { title: '{name} is paused', body: 'An invoice is overdue. It opens again once that is settled.' },
    suspended: { title: 'Your account is suspended', body: 'Nothing can be used until that is lifted.' },
    cancelled: { title: 'Your subscription is cancelled', body: 'Take a plan to use {name} again.' },
    no_subscription: { title: 'You have no subscription', body: 'Take a plan to use {name}.' },
    trial_expired: { title: 'Your trial of {name} has ended', body: 'Take a plan to go on.' },
    expired: { title: 'Your access to {name} has ended', body: 'Ask your administrator to have it renewed.' },
    seat_required: { title: '{name} takes a seat', body: 'Ask your administrator to assign you one.' },
    permission_denied: { title: 'You may not do this', body: 'Ask your administrator for the permission.' },
    limit_reached: { title: 'The limit of {name} is reached', body: 'Free some, or raise the limit.' },
    feature_disabled: { title: '{name} is switched off', body: 'It is not available to anyone now.' },
    disabled: { title: '{name} is switched off for you', body: 'Ask your administrator why.' },
    override: { title: '{name} is switched off for you', body: 'Ask your administrator why.' },
    not_granted: { title: '{name} is not switched on', body: 'Ask your administrator for it.' },
    unavailable: { title: '{name} can’t be opened now', body: 'We could not check what you may use. Try again shortly.' },
    other: { title: '{name} is locked', body: 'You can’t use it now.' },
  },
  remedies: {
    upgrade_plan: 'Upgrade to {plans}',
    buy_add_on: 'Add {plans}',
    start_trial: 'Start a trial',
    assign_seat: 'Ask your administrator for a seat',
    settle_invoice: 'Settle the invoice',
    contact_admin: 'Contact your administrator',
    request_access: 'Request access',
    wait_until: 'Available from {at}',
  },
  unnamed: 'this',
  or: ' or ',
  trialDays: 'Trial: {days} days left',
  trialLastDay: 'Trial: 1 day left',
  trialHours: 'Trial: ends in {hours} h',
  trialEnded: 'Trial ended',
  sandbox: 'Sandbox',
  limitUsed: '{used} of {limit}',
  limitUnlimited: '{used}, unlimited',
  limitUnknown: 'unknown',
  refused: { title: 'You may not do this', body: 'Ask your administrator for access.' },
  upgrade: { title: 'Your plan does not include this', body: 'Upgrade to use it.' },
};

/** Texts of which some are replaced. */
export type TextChanges = Partial<Omit<Texts, 'reasons' | 'remedies'>> & {
  reasons?: Record<string, ReasonText>;
  remedies?: Record<string, string>;
};

/** English, with what was replaced. */
export function withChanges(changes: TextChanges = {}): Texts {
  return {
    ...english,
    ...changes,
    reasons: { ...english.reasons, ...changes.reasons },
    remedies: { ...english.remedies, ...changes.remedies },
  };
}

/** Puts values into a text. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(Object.hasOwn(values, name) ? values[name] : whole));
}
