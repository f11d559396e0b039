# SPDX-License-Identifier: LGPL-2.1-or-later

unit_msi_SOURCES +=
