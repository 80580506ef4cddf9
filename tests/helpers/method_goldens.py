"""Which test compares each method with values from elsewhere: another program's arrays, or loops of its own."""

from __future__ import annotations

WEIGHTED = ("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcamelementwise")
PLAIN = ("fem", "kpcacam")
COMPONENTS = ("eigencam", "eigengradcam")
"""pytorch-grad-cam has these, the last ones up to their sign."""

NORM_GRAD = ("normgrad", "normgrad-3x3", "normgrad-scaling", "normgrad-bias")

GOLDENS: dict[str, str] = {
    **dict.fromkeys((*WEIGHTED, *PLAIN), "test_equals_pytorch_grad_cam"),
    **dict.fromkeys(COMPONENTS, "test_component_equals_pytorch_grad_cam_up_to_sign"),
    "cam": "test_cam_uses_the_classifiers_weight_row",
    **dict.fromkeys(NORM_GRAD, "test_normgrad_is_the_norm_of_what_each_position_adds_to_the_weights_gradient"),
    "randomcam": "test_randomcam_weighs_uniformly_and_by_its_seed",
    "cfcam": "test_activity_share_takes_a_share_of_the_maps_mean",
    "cfcam-published": "test_published_equals_the_description",
    "finercam": "test_finercam_equals_pytorch_grad_cam",
    **dict.fromkeys(("saliency", "inputxgradient", "smoothgrad", "integrated_gradients"), "test_equals_captum"),
    **dict.fromkeys(("guided_backprop", "guided_gradcam", "relevance"), "test_equals_captum"),
    **dict.fromkeys(("scorecam", "occlusion", "ablationcam"), "test_equals_the_other_package"),
    "rise": "test_rise_equals_a_direct_loop",
    "reciprocam": "test_recipro_cam_equals_a_direct_loop",
}
"""Name of the test by method."""
