"""The lean runtime of the EENet toolkit: four MRI volumes in, a tumour mask on the patient's own grid out."""
