# SPDX-License-Identifier: LGPL-2.1-or-later

unit_model_SOURCES += \
	tests/unit/model_dma_test.cc \
	tests/unit/model_image_lock_test.cc \
	tests/unit/model_machine_test.cc \
	tests/unit/model_mapping_test.cc \
	tests/unit/model_page_table_test.cc \
	tests/unit/model_pci_function_test.cc \
	tests/unit/model_test_machine.h \
	tests/unit/model_vectors_test.cc

unit_model_SOURCES += \
	tests/unit/model_edu_test.cc \
	tests/unit/model_test_bus.h

unit_model_SOURCES += \
	tests/unit/model_virtio_driver.h \
	tests/unit/model_virtio_net_rings_test.cc \
	tests/unit/model_virtio_net_test.cc

unit_model_SOURCES += \
	tests/unit/model_nvme_admin_test.cc \
	tests/unit/model_nvme_controller_test.cc \
	tests/unit/model_nvme_fuzz_test.cc \
	tests/unit/model_nvme_io_test.cc \
	tests/unit/model_nvme_rig.h
