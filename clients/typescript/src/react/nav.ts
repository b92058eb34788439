/** Leaves in a navigation what may be used. */
import type { Access, Need } from './access.js';
import { useEntitlements } from './hooks.js';

/** An entry, or a group of entries, with what it needs. */
export interface NavItem extends Pick<Need, 'module' | 'feature' | 'features' | 'match' | 'permission' | 'context'> {
  items?: readonly NavItem[];
}

/**
 * The entries whose needs are all met: module and permission both must pass. A group that is left
 * without entries goes too. What is not known yet is not shown.
 */
export function visibleNav<T extends NavItem>(items: readonly T[], can: (need: Need) => Access): T[] {
  return items.flatMap((item) => {
    const { module, feature, features, match, permission, context } = item;
    const free = module === undefined && feature === undefined && features === undefined && permission === undefined;
    if (!free && !can({ module, feature, features, match, permission, context }).allowed) return [];
    if (item.items === undefined) return [item];
    const inside = visibleNav(item.items, can);
    return inside.length > 0 ? [{ ...item, items: inside }] : [];
  });
}

/** The same for what the provider above knows. */
export function useVisibleNav<T extends NavItem>(items: readonly T[]): T[] {
  return visibleNav(items, useEntitlements().can);
}
