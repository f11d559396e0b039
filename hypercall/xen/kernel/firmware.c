// SPDX-License-Identifier: GPL-2.0
/*
 * What the firmware says of the IOMMU: how many address bits it has, and which memory it wants
 * devices to reach always.
 *
 *      DMAR (Intel VT-d 8.1)    36 width less one | 48 structures: 0 type u16 | 2 length u16
 *        RMRR, type 1            6 segment | 8 first u64 | 16 last u64 | 24 scopes
 *        a scope                 0 type u8 | 1 length u8 | 5 bus | 6 path: device, function ...
 *      IVRS (AMD 5.2)           36 IVinfo, width in bits 15 to 21 | 48 blocks: 0 type u8, 2 length
 *        IVMD, types 0x20 to 22  4 device, 6 last device | 16 first u64 | 24 length u64
 *
 * Xen hides DMAR from dom0 by changing its name.
 */
#include <linux/acpi.h>
#include <linux/unaligned.h>

#include "pviommu_xen.h"

#define TABLE_HEADER	48
#define WIDTH_OFFSET	36

/* Xen's tables have four levels. */
#define MOST_BITS	48
#define FEWEST_BITS	32

static const u8 *find(const char *const names[], u32 *length)
{
	struct acpi_table_header *table;

	for (; *names; names++) {
		if (ACPI_SUCCESS(acpi_get_table((char *)*names, 0, &table))) {
			*length = table->length;
			return (const u8 *)table;
		}
	}
	return NULL;
}

static const u8 *find_dmar(u32 *length)
{
	static const char *const names[] = { "RMAD", "XMAR", "DMAR", NULL };

	return find(names, length);
}

static const u8 *find_ivrs(u32 *length)
{
	static const char *const names[] = { "IVRS", NULL };

	return find(names, length);
}

static void put(const u8 *table)
{
	acpi_put_table((struct acpi_table_header *)table);
}

bool firmware_is_amd(void)
{
	u32 length;
	const u8 *ivrs = find_ivrs(&length);

	if (!ivrs)
		return false;
	put(ivrs);
	return true;
}

unsigned int firmware_width(void)
{
	unsigned int bits = MOST_BITS;
	u32 length;
	const u8 *table = find_dmar(&length);

	if (table) {
		if (length >= TABLE_HEADER)
			bits = table[WIDTH_OFFSET] + 1;
		put(table);
	} else {
		table = find_ivrs(&length);
		if (table) {
			if (length >= TABLE_HEADER)
				bits = get_unaligned_le32(table + WIDTH_OFFSET) >> 15 & 0x7f;
			put(table);
		}
	}
	/* Old tables of AMD's leave it out. */
	return bits < FEWEST_BITS || bits > MOST_BITS ? MOST_BITS : bits;
}

static void add(struct list_head *regions, u64 first, u64 length, enum iommu_resv_type type)
{
	struct iommu_resv_region *region;

	region = iommu_alloc_resv_region(first, length, IOMMU_READ | IOMMU_WRITE, type, GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, regions);
}

/* Is the device the one that a scope's path ends at? */
static bool scope_is(const u8 *scope, u16 segment, struct pci_dev *pdev)
{
	unsigned int bus = scope[5], at = 6, length = scope[1];

	if (segment != pci_domain_nr(pdev->bus))
		return false;
	for (; at + 2 <= length; at += 2) {
		unsigned int devfn = PCI_DEVFN(scope[at], scope[at + 1]);
		struct pci_dev *bridge;

		if (at + 4 > length)
			return bus == pdev->bus->number && devfn == pdev->devfn;
		bridge = pci_get_domain_bus_and_slot(segment, bus, devfn);
		if (!bridge || !bridge->subordinate) {
			pci_dev_put(bridge);
			return false;
		}
		bus = bridge->subordinate->number;
		pci_dev_put(bridge);
	}
	return false;
}

static bool rmrr_is_of(const u8 *rmrr, unsigned int length, struct pci_dev *pdev)
{
	unsigned int at = 24;

	while (at + 6 <= length && rmrr[at + 1] >= 6 && at + rmrr[at + 1] <= length) {
		if (scope_is(rmrr + at, get_unaligned_le16(rmrr + 6), pdev))
			return true;
		at += rmrr[at + 1];
	}
	return false;
}

static void intel_regions(const u8 *dmar, u32 size, struct pci_dev *pdev, struct list_head *regions)
{
	/* As on bare metal: the firmware's use of these ends before a driver starts. */
	bool relaxable = pdev->class >> 8 == PCI_CLASS_DISPLAY_VGA ||
			 pdev->class >> 8 == PCI_CLASS_SERIAL_USB;
	u32 at = TABLE_HEADER;

	while (at + 4 <= size) {
		const u8 *structure = dmar + at;
		unsigned int length = get_unaligned_le16(structure + 2);

		if (length < 4 || at + length > size)
			break;
		if (get_unaligned_le16(structure) == 1 && length >= 24 &&
		    rmrr_is_of(structure, length, pdev)) {
			u64 first = get_unaligned_le64(structure + 8);
			u64 last = get_unaligned_le64(structure + 16);

			if (last > first)
				add(regions, first, last - first + 1,
				    relaxable ? IOMMU_RESV_DIRECT_RELAXABLE : IOMMU_RESV_DIRECT);
		}
		at += length;
	}
}

static void amd_regions(const u8 *ivrs, u32 size, struct pci_dev *pdev, struct list_head *regions)
{
	u16 device = pci_dev_id(pdev);
	u32 at = TABLE_HEADER;

	while (at + 4 <= size) {
		const u8 *block = ivrs + at;
		unsigned int length = get_unaligned_le16(block + 2);
		u16 first, last;

		if (length < 4 || at + length > size)
			break;
		at += length;
		if (block[0] < 0x20 || block[0] > 0x22 || length < 32)
			continue;
		first = get_unaligned_le16(block + 4);
		last = block[0] == 0x22 ? get_unaligned_le16(block + 6) : first;
		if (block[0] == 0x20 || (device >= first && device <= last))
			add(regions, get_unaligned_le64(block + 16), get_unaligned_le64(block + 24),
			    IOMMU_RESV_DIRECT);
	}
}

void firmware_reserved(struct pci_dev *pdev, struct list_head *regions)
{
	u32 size;
	const u8 *table = find_dmar(&size);

	if (table) {
		intel_regions(table, size, pdev, regions);
		put(table);
		return;
	}
	table = find_ivrs(&size);
	if (table) {
		amd_regions(table, size, pdev, regions);
		put(table);
	}
}
