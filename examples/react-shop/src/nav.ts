/** What the shop consists of. Module and permission of an entry both must pass. */
import type { NavItem } from '@entitled/client/react';
import type { ModuleKey } from './entitled-keys.ts';

export interface Entry extends NavItem {
  path: string;
  label: string;
}

export const NAV: readonly Entry[] = [
  { path: '/', label: 'Dashboard' },
  { path: '/pos', label: 'Point of sale', module: 'retail' },
  { path: '/inventory', label: 'Inventory', module: 'retail' },
  { path: '/dine', label: 'Restaurant', module: 'dine' },
  { path: '/pay', label: 'Payments', module: 'pay' },
  { path: '/accounting', label: 'Accounting', module: 'accounting' },
  { path: '/hr', label: 'Staff', module: 'hr', permission: 'users.manage' },
  { path: '/ecom', label: 'Web shop', module: 'ecom' },
  { path: '/zf', label: 'Automation', module: 'zf' },
  { path: '/settings', label: 'Settings', permission: 'settings.manage' },
];

/** How keys of the catalog are called in this shop. */
export const NAMES: Readonly<Record<string, string>> = {
  common: 'Common',
  owner: 'Owner',
  retail: 'Retail',
  dine: 'Restaurant',
  pay: 'Payments',
  accounting: 'Accounting',
  hr: 'Staff',
  ecom: 'Web shop',
  zf: 'Automation',
  advanced_reports: 'Advanced reports',
  multi_branch: 'Several branches',
  branches: 'Branches',
  users: 'Users',
  devices: 'Devices',
  starter: 'Starter',
  growth: 'Growth',
  enterprise: 'Enterprise',
};

export const MODULES: readonly ModuleKey[] = ['retail', 'dine', 'pay', 'accounting', 'hr', 'ecom', 'zf'];

/** The tenants of `entitled serve --demo`. */
export const TENANTS = [
  'retail-only',
  'dine-only',
  'mixed',
  'enterprise',
  'trial',
  'acme',
  'overdue-grace',
  'overdue',
  'no-subscription',
  'cancelled',
  'suspended-subscription',
  'suspended',
];
