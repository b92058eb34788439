/**
 * `@entitled/client/react`: the provider, hooks and gates.
 *
 * Hiding something is a courtesy to people, not protection: the server that does the work asks for
 * itself.
 */
export { EntitlementsProvider } from './provider.js';
export type { EntitlementsProviderProps } from './provider.js';
export { useAccess, useEntitlements, useFeature, useLimit, useModule, usePermission } from './hooks.js';
export type { EntitlementsView, FeatureAnswer, LimitAnswer } from './hooks.js';
export { EntitlementGate, FeatureGate, RequireModule, RequirePermission } from './gates.js';
export type { EntitlementGateProps, RequireProps } from './gates.js';
export { Forbidden, Locked, ModuleLocked, UpgradeHint } from './locked.js';
export type { LockedProps, UpgradeHintProps } from './locked.js';
export { LimitMeter, SandboxBadge, TrialBadge } from './badges.js';
export type { LimitMeterProps } from './badges.js';
export { Refusal, refusalOf } from './refusal.js';
export type { RefusalProps, Refused } from './refusal.js';
export { useVisibleNav, visibleNav } from './nav.js';
export type { NavItem } from './nav.js';
export { judge } from './access.js';
export type { Access, ContextRef, Kind, Need, View } from './access.js';
export { EntitlementsStore } from './store.js';
export type { Snapshot, StoreOptions } from './store.js';
export type { Failure } from './source.js';
export { english } from './texts.js';
export type { ReasonText, TextChanges, Texts } from './texts.js';
