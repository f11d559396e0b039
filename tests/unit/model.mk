# SPDX-License-Identifier: LGPL-2.1-or-later

unit_model_SOURCES +=
