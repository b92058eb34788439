/**
 * The names of a catalog as types. Without more they are text; the file that `entitled-keys` writes
 * narrows them, so that a misspelt key doesn't compile.
 */

/** Filled in by the file that `entitled-keys` writes. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface Names {}

type Of<K extends string> = Names extends Record<K, infer T> ? (T extends string ? T : string) : string;

/** A module of the catalog. */
export type ModuleKey = Of<'module'>;
/** A feature of the catalog. */
export type FeatureKey = Of<'feature'>;
/** A permission that a role or tier of the catalog gives. */
export type PermissionKey = Of<'permission'>;
/** A reason of a decision: the server's own, or that of a guard's condition in the catalog. */
export type Reason = Of<'reason'>;
